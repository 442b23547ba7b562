//! What a process shows to prove who it is, and the authority that it trusts.
//!
//! Loaded once by each process at its start and handed to whoever connects or listens. All clones are
//! the same: when newer ones take their place, every later handshake is made with those, and what is
//! connected stays so.

use super::{Revocations, provider};
use crate::pki::{
    AuthorityError, FileError, Fingerprint, Identity, InvalidIdentity, Issued, MemberCertificate,
    authority_cluster, authority_key_id, fingerprint, read_text, write_secret,
};
use flocker_types::ids::ClusterId;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Names of the files within a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The authority's certificate.
    pub authority: &'static str,
    /// The own certificate, and its private key: in one file, so that they change together.
    pub certificate: &'static str,
    /// The own private key, where it is not with the certificate.
    pub key: &'static str,
}

impl CredentialFiles {
    /// Of a node's agent and proxy.
    pub const NODE: Self = Self {
        authority: "ca.pem",
        certificate: "node.pem",
        key: "node.key",
    };
    /// Of control.
    pub const CONTROL: Self = Self {
        authority: "ca.pem",
        certificate: "control.pem",
        key: "control.key",
    };
    /// Of a user.
    pub const USER: Self = Self {
        authority: "ca.pem",
        certificate: "user.pem",
        key: "user.key",
    };
}

/// A certificate, its key, the authorities that are trusted, and what is revoked. Clones share all of it.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    identity: Identity,
    present: RwLock<Arc<Present>>,
    revocations: Revocations,
}

/// What can be replaced.
struct Present {
    certificate: MemberCertificate,
    authorities: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    certified_key: Arc<CertifiedKey>,
    /// Verifies clients by these roots.
    clients: Arc<dyn ClientCertVerifier>,
}

/// Credentials cannot be loaded. Trying again does not help before the files are put right.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file.
    #[error("the credentials cannot be read or written; a node gets them by `flocker join`")]
    File(#[from] FileError),
    /// A text that should be PEM is not.
    #[error("{what} is not valid PEM")]
    Pem {
        /// Which part.
        what: &'static str,
        /// What the parser said.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate was not made by Flocker.
    #[error("the certificate is not one of a Flocker cluster")]
    Identity(#[from] InvalidIdentity),
    /// The authority's certificate was not made by Flocker.
    #[error("the authority's certificate is not one of a Flocker cluster")]
    Authority(#[from] AuthorityError),
    /// The files were mixed up.
    #[error(
        "the certificate is of cluster {certificate}, but the authority's certificate beside it is \
         of cluster {authority}"
    )]
    OtherCluster {
        /// The certificate's.
        certificate: ClusterId,
        /// The authority's.
        authority: ClusterId,
    },
    /// Somebody else's cannot take the place of ours.
    #[error("these credentials are those of {found}, not of {expected}")]
    OtherIdentity {
        /// Whose they are.
        found: Box<Identity>,
        /// Whose they should be.
        expected: Box<Identity>,
    },
    /// The parts do not fit together.
    #[error("{what}")]
    Unusable {
        /// Which parts.
        what: &'static str,
        /// What rustls said.
        source: rustls::Error,
    },
}

impl Credentials {
    /// From the text of certificate, key and authorities; the certificate's own authority is first.
    ///
    /// # Errors
    /// [`CredentialsError`] says which of them is wrong.
    pub fn from_pem(
        certificate_pem: &str,
        key_pem: &str,
        authority_pem: &str,
    ) -> Result<Self, CredentialsError> {
        let present = Present::from_pem(certificate_pem, key_pem, authority_pem)?;
        Ok(Self(Arc::new(Shared {
            identity: present.certificate.identity.clone(),
            present: RwLock::new(Arc::new(present)),
            revocations: Revocations::default(),
        })))
    }

    /// From files in a directory.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file.
    pub fn load(directory: &Path, files: CredentialFiles) -> Result<Self, CredentialsError> {
        let read = |name| read_text(&directory.join(name));
        let certificate = read(files.certificate)?;
        let authority = read(files.authority)?;
        if PrivateKeyDer::from_pem_slice(certificate.as_bytes()).is_ok() {
            return Self::from_pem(&certificate, &certificate, &authority);
        }
        Self::from_pem(&certificate, &read(files.key)?, &authority)
    }

    /// Writes what [`Credentials::load`] reads, all readable for the owner only. Whoever loads while they
    /// are replaced gets the old ones or the new ones.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file.
    pub fn save(
        directory: &Path,
        files: CredentialFiles,
        issued: &Issued,
        authority_pem: &str,
    ) -> Result<(), CredentialsError> {
        write_secret(&directory.join(files.authority), authority_pem)?;
        let both = format!("{}{}", issued.certificate_pem, issued.key_pem);
        write_secret(&directory.join(files.certificate), &both)?;
        Ok(())
    }

    /// Puts newer credentials of the same identity into the place of these, in every clone.
    ///
    /// # Errors
    /// [`CredentialsError::OtherIdentity`] when they are somebody else's.
    pub fn replace(&self, newer: &Self) -> Result<(), CredentialsError> {
        if newer.0.identity != self.0.identity {
            return Err(CredentialsError::OtherIdentity {
                found: Box::new(newer.0.identity.clone()),
                expected: Box::new(self.0.identity.clone()),
            });
        }
        let present = newer.present();
        let mut place = self
            .0
            .present
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = present;
        Ok(())
    }

    /// Who they say we are.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The present certificate's number and time.
    pub fn certificate(&self) -> MemberCertificate {
        self.present().certificate.clone()
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// SHA-256 of the authority's certificate; of the first, where there are several.
    pub fn authority_fingerprint(&self) -> Fingerprint {
        fingerprint(&self.present().authorities[0])
    }

    /// The identifiers of the keys of the authorities that are trusted.
    pub fn authorities(&self) -> Vec<String> {
        let present = self.present();
        present
            .authorities
            .iter()
            .map(|one| authority_key_id(one))
            .collect()
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.present().roots)
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.present().certified_key)
    }

    pub(super) fn client_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.present().clients)
    }

    fn present(&self) -> Arc<Present> {
        let present = self.0.present.read();
        // Replacing cannot panic half way.
        Arc::clone(&present.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Present {
    fn from_pem(
        certificate_pem: &str,
        key_pem: &str,
        authority_pem: &str,
    ) -> Result<Self, CredentialsError> {
        let pem = |what| move |source| CredentialsError::Pem { what, source };
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(pem("the certificate"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(pem("the private key"))?;
        let member = MemberCertificate::read(&certificate)?;
        let authorities = authorities(authority_pem, member.identity.cluster)?;
        let unusable = |what| move |source| CredentialsError::Unusable { what, source };
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            let added = roots.add(authority.clone());
            added.map_err(unusable("the authority's certificate cannot be used"))?;
        }
        let roots = Arc::new(roots);
        // The authority's certificate is shown too: a joiner knows only its fingerprint.
        let chain = std::iter::once(certificate)
            .chain(authorities.iter().cloned())
            .collect();
        let certified_key = CertifiedKey::from_der(chain, key, &provider()).map_err(unusable(
            "the private key cannot be used with the certificate",
        ))?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| CredentialsError::Unusable {
                what: "the authority's certificate cannot be used",
                source: rustls::Error::General(error.to_string()),
            })?;
        Ok(Self {
            certificate: member,
            authorities,
            roots,
            certified_key: Arc::new(certified_key),
            clients,
        })
    }
}

/// The authorities in a text, all of this cluster; at least one.
fn authorities(
    text: &str,
    cluster: ClusterId,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let what = "the authority's certificate";
    let pem = |source| CredentialsError::Pem { what, source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(pem)?;
    if found.is_empty() {
        return Err(pem(rustls_pki_types::pem::Error::NoItemsFound));
    }
    for authority in &found {
        let theirs = authority_cluster(authority)?;
        if theirs != cluster {
            return Err(CredentialsError::OtherCluster {
                certificate: cluster,
                authority: theirs,
            });
        }
    }
    Ok(found)
}

// Never the key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.identity())
    }
}
