//! Whether a server is the one that was meant: its chain, its dates, and its identity.
//!
//! And whether a client is a member that was not revoked. For servers it replaces the comparison of DNS
//! names by the comparison of identities; everything else is done as for any certificate.

use super::error::{PeerRefusal, describe};
use super::{ClientCertificates, Credentials, Revocations, provider};
use crate::pki::{Fingerprint, Identity, MemberCertificate, Role, fingerprint};
use flocker_types::ids::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// Who a server has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Control of our cluster.
    Control,
    /// This node of our cluster.
    Node(NodeId),
}

impl Expect {
    fn role(&self) -> Role {
        match self {
            Self::Control => Role::Control,
            Self::Node(id) => Role::Node(*id),
        }
    }
}

/// What makes a server the right one.
#[derive(Debug)]
pub(super) enum Trust {
    /// A member of our cluster.
    Member {
        roots: Arc<RootCertStore>,
        expected: Identity,
        revocations: Revocations,
    },
    /// Control of the cluster whose authority has this fingerprint.
    Pinned(Fingerprint),
}

/// Verifies servers for rustls.
#[derive(Debug)]
pub(super) struct IdentityVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl IdentityVerifier {
    pub(super) fn member(credentials: &Credentials, expect: &Expect) -> Self {
        Self::new(Trust::Member {
            roots: credentials.roots(),
            expected: Identity {
                cluster: credentials.identity().cluster,
                role: expect.role(),
            },
            revocations: credentials.revocations().clone(),
        })
    }

    pub(super) fn pinned(authority: Fingerprint) -> Self {
        Self::new(Trust::Pinned(authority))
    }

    fn new(trust: Trust) -> Self {
        Self {
            trust,
            provider: provider(),
        }
    }

    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        roots: &RootCertStore,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            roots,
            others,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }
}

impl ServerCertVerifier for IdentityVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let own = match &self.trust {
            Trust::Member {
                roots,
                expected,
                revocations,
            } => {
                self.check_chain(certificate, others, roots, now)?;
                check_not_revoked(certificate, revocations)?;
                Some(expected)
            }
            Trust::Pinned(authority) => {
                let roots = pinned_roots(others, *authority)?;
                self.check_chain(certificate, others, &roots, now)?;
                None
            }
        };
        let presented = Identity::from_certificate(certificate)
            .map_err(|error| refuse(PeerRefusal::NoIdentity(error)))?;
        let right = match own {
            Some(expected) => presented == *expected,
            None => presented.role == Role::Control,
        };
        if !right {
            return Err(refuse(PeerRefusal::WrongIdentity {
                presented: describe(&presented, own),
                expected: own
                    .map_or(Role::Control, |own| own.role.clone())
                    .to_string(),
            }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Every member speaks TLS 1.3; the configurations allow nothing else.
        Err(rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::Tls12NotOffered,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn check_not_revoked(
    certificate: &CertificateDer<'_>,
    revocations: &Revocations,
) -> Result<(), rustls::Error> {
    let member = MemberCertificate::read(certificate)
        .map_err(|error| refuse(PeerRefusal::NoIdentity(error)))?;
    match revocations.covers(&member) {
        true => Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)),
        false => Ok(()),
    }
}

/// Verifies clients by what the credentials trust at this moment.
#[derive(Debug)]
pub(super) struct LiveClients {
    credentials: Credentials,
    clients: ClientCertificates,
}

impl LiveClients {
    pub(super) fn new(credentials: Credentials, clients: ClientCertificates) -> Self {
        Self {
            credentials,
            clients,
        }
    }
}

impl ClientCertVerifier for LiveClients {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == ClientCertificates::Required
    }

    // Members have one certificate and need no help in choosing it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verifier = self.credentials.client_verifier();
        let verified = verifier.verify_client_cert(certificate, others, now)?;
        if self.clients == ClientCertificates::Required {
            check_not_revoked(certificate, self.credentials.revocations())?;
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.credentials.client_verifier();
        verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.credentials.client_verifier();
        verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials
            .client_verifier()
            .supported_verify_schemes()
    }
}

/// The authority among the certificates that the server sent, if it is the pinned one.
fn pinned_roots(
    sent: &[CertificateDer<'_>],
    authority: Fingerprint,
) -> Result<RootCertStore, rustls::Error> {
    let pinned = sent
        .iter()
        .find(|certificate| fingerprint(certificate) == authority)
        .ok_or_else(|| refuse(PeerRefusal::OtherAuthority))?;
    let mut roots = RootCertStore::empty();
    roots.add(pinned.clone().into_owned())?;
    Ok(roots)
}

/// Carries our reason through rustls; [`super::TlsError`] takes it out again.
fn refuse(refusal: PeerRefusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}
