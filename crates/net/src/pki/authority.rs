//! The cluster's certificate authority: makes itself, and issues certificates to members.
//!
//! `flocker init` creates it, control keeps it and issues from it. It decides nothing about who
//! may join, and takes nothing from a request but the public key.

use super::certificate::{authority_key_id, serial_and_end};
use super::files::{FileError, read_text, write_public, write_secret};
use super::identity::{
    DNS_NAME, Identity, InvalidIdentity, Role, authority_uri, check_user_name,
    cluster_of_authority, flocker_uris,
};
use super::token::{Fingerprint, fingerprint};
use super::{NoRandomness, random_bytes};
use flocker_types::ids::ClusterId;
use flocker_types::time::UnixMs;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use ring::hmac;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the authority itself is good.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);
/// How long a certificate of control or of a node is good.
pub const NODE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a user's certificate is good.
pub const USER_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Certificates are good from this long before they are issued, for servers whose clock is late.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60 * 60);
/// What the key for marks is for.
const MARKING: &[u8] = b"flocker: marks on what control tells nodes to keep, version 1";
/// An uncompressed point of the P-256 curve: one byte that says so, and two coordinates.
const P256_POINT_BYTES: usize = 65;

/// The certificate authority of one cluster, with its key.
pub struct Authority {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as text for files.
#[derive(Clone)]
pub struct Issued {
    /// The certificate (PEM).
    pub certificate_pem: String,
    /// Its private key (PEM).
    pub key_pem: String,
}

/// A new key and the request for a certificate for it.
#[derive(Clone)]
pub struct KeyAndRequest {
    /// The private key (PEM). It stays where it was made.
    pub key_pem: String,
    /// The request (PEM), which goes to control.
    pub request_pem: String,
}

/// The authority cannot be made or loaded, or does not issue a certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file.
    #[error("the authority's files are not usable")]
    File(#[from] FileError),
    /// No random number. Trying again may help.
    #[error("no key could be made")]
    Randomness(#[from] NoRandomness),
    /// The certificate on file is none, or of something else.
    #[error("this is not the certificate of a Flocker cluster's authority: {reason}")]
    NotAnAuthority {
        /// What is wrong with it.
        reason: String,
    },
    /// The key on file is none.
    #[error("the authority's private key cannot be read")]
    BadKey {
        /// What the parser said.
        source: rcgen::Error,
    },
    /// The key on file belongs to another certificate.
    #[error(
        "the authority's key does not belong to its certificate; \
         restore both files from the same backup"
    )]
    KeyMismatch,
    /// The request was not made by `flocker`, or was damaged on its way.
    #[error("the certificate request is not acceptable: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody can have this name.
    #[error("no certificate is issued for this name")]
    Name(#[from] InvalidIdentity),
    /// The identity is one of another cluster.
    #[error("this is the authority of cluster {ours}; it cannot vouch for {identity}")]
    OtherCluster {
        /// This authority's cluster.
        ours: ClusterId,
        /// What it was asked for.
        identity: Box<Identity>,
    },
    /// Making the certificate failed. Trying again does not help.
    #[error("the certificate could not be made")]
    Signing(#[from] rcgen::Error),
}

impl Authority {
    /// A new authority for a new cluster, with a new key.
    ///
    /// # Errors
    /// [`AuthorityError`] if there is no randomness.
    pub fn create(cluster: ClusterId) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = base_params(
            format!("Flocker cluster {cluster}"),
            AUTHORITY_VALIDITY,
            SystemTime::now(),
        )?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.subject_alt_names = vec![SanType::URI(authority_uri(cluster).try_into()?)];
        let certificate = params.self_signed(&key)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// The authority from the text of its two files.
    ///
    /// # Errors
    /// [`AuthorityError`] says which of the two is not what it should be.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| {
                AuthorityError::NotAnAuthority {
                    reason: error.to_string(),
                }
            })?;
        let cluster = authority_cluster(&certificate)?;
        let key = KeyPair::from_pem(key_pem).map_err(|source| AuthorityError::BadKey { source })?;
        if !has_public_key(&certificate, &key) {
            return Err(AuthorityError::KeyMismatch);
        }
        Ok(Self {
            cluster,
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate_pem: certificate_pem.to_owned(),
            certificate,
        })
    }

    /// Reads the authority from its two files.
    ///
    /// # Errors
    /// [`AuthorityError`] names the file that is missing or damaged.
    pub fn load(certificate_path: &Path, key_path: &Path) -> Result<Self, AuthorityError> {
        Self::from_pem(&read_text(certificate_path)?, &read_text(key_path)?)
    }

    /// Writes the authority into two files, the key readable for its owner only.
    ///
    /// # Errors
    /// [`AuthorityError::File`] names the file.
    pub fn save(&self, certificate_path: &Path, key_path: &Path) -> Result<(), AuthorityError> {
        write_secret(key_path, &self.issuer.key().serialize_pem())?;
        write_public(certificate_path, &self.certificate_pem)?;
        Ok(())
    }

    /// The cluster it vouches for.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its certificate (PEM), which every member has.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its own certificate's number and the end of its time.
    ///
    /// # Errors
    /// [`AuthorityError::NotAnAuthority`] if it cannot be read.
    pub fn serial_and_end(&self) -> Result<(String, UnixMs), AuthorityError> {
        serial_and_end(&self.certificate).map_err(|error| AuthorityError::NotAnAuthority {
            reason: error.to_string(),
        })
    }

    /// The identifier of its key, which every certificate that it issues carries.
    pub fn key_id(&self) -> String {
        authority_key_id(&self.certificate)
    }

    /// Its private key (PEM): whoever has it can let anybody into the cluster.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A mark on a text, in hexadecimal digits, that nobody can make without this authority's key. It is
    /// for this authority alone to look at.
    pub fn mark(&self, text: &str) -> String {
        let tag = hmac::sign(&self.marking_key(), text.as_bytes());
        let digits = |text: String, byte: &u8| text + &format!("{byte:02x}");
        tag.as_ref().iter().fold(String::new(), digits)
    }

    /// Whether this mark on this text is ours.
    pub fn has_marked(&self, text: &str, mark: &str) -> bool {
        let pairs = (0..mark.len()).step_by(2).map(|at| mark.get(at..at + 2));
        let byte = |pair: Option<&str>| u8::from_str_radix(pair?, 16).ok();
        let tag: Option<Vec<u8>> = pairs.map(byte).collect();
        tag.is_some_and(|tag| hmac::verify(&self.marking_key(), text.as_bytes(), &tag).is_ok())
    }

    /// The key that signs certificates is used for nothing else, so another one is made of it.
    fn marking_key(&self) -> hmac::Key {
        let own = hmac::Key::new(hmac::HMAC_SHA256, self.issuer.key().serialized_der());
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&own, MARKING).as_ref())
    }

    /// SHA-256 of its certificate, which join tokens carry.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.certificate)
    }

    /// A certificate for the key in a request. Only the public key is taken from the request: name,
    /// purposes and dates are ours.
    ///
    /// # Errors
    /// [`AuthorityError::BadRequest`] if the request is not one that [`key_and_request`] makes.
    pub fn sign_request(
        &self,
        request_pem: &str,
        identity: &Identity,
        validity: Duration,
    ) -> Result<String, AuthorityError> {
        self.sign_request_at(request_pem, identity, validity, SystemTime::now())
    }

    /// As [`Authority::sign_request`], dated `at`.
    ///
    /// # Errors
    /// See [`Authority::sign_request`].
    pub fn sign_request_at(
        &self,
        request_pem: &str,
        identity: &Identity,
        validity: Duration,
        at: SystemTime,
    ) -> Result<String, AuthorityError> {
        let refuse = |reason: String| AuthorityError::BadRequest { reason };
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|error| refuse(error.to_string()))?;
        let public_key = &request.public_key;
        if *PublicKeyData::algorithm(public_key) != PKCS_ECDSA_P256_SHA256
            || public_key.der_bytes().len() != P256_POINT_BYTES
        {
            return Err(refuse("its key is not an ECDSA P-256 key".to_owned()));
        }
        request.params = self.member_params(identity, validity, at)?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// A certificate with a new key, for `flocker init`, which makes both sides.
    ///
    /// # Errors
    /// [`AuthorityError`] if the identity is not one of this cluster.
    pub fn issue(&self, identity: &Identity, validity: Duration) -> Result<Issued, AuthorityError> {
        self.issue_at(identity, validity, SystemTime::now())
    }

    /// As [`Authority::issue`], as if `now` were the time, so that tests can have expired ones.
    pub(crate) fn issue_at(
        &self,
        identity: &Identity,
        validity: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = self.member_params(identity, validity, now)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    fn member_params(
        &self,
        identity: &Identity,
        validity: Duration,
        now: SystemTime,
    ) -> Result<CertificateParams, AuthorityError> {
        if identity.cluster != self.cluster {
            return Err(AuthorityError::OtherCluster {
                ours: self.cluster,
                identity: Box::new(identity.clone()),
            });
        }
        let purposes = match &identity.role {
            Role::Control | Role::Node(_) => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Role::User { name, .. } => {
                check_user_name(name)?;
                vec![ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        let mut params = base_params(format!("Flocker {}", identity.role), validity, now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![
            SanType::URI(identity.to_string().try_into()?),
            SanType::DnsName(DNS_NAME.try_into()?),
        ];
        Ok(params)
    }
}

/// A new key and a request for a certificate for it. The request names nobody: who the certificate
/// is for, control decides.
///
/// # Errors
/// [`AuthorityError`] if there is no randomness.
pub fn key_and_request() -> Result<KeyAndRequest, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok(KeyAndRequest {
        key_pem: key.serialize_pem(),
        request_pem: request.pem()?,
    })
}

fn base_params(
    common_name: String,
    validity: Duration,
    now: SystemTime,
) -> Result<CertificateParams, NoRandomness> {
    let mut serial = random_bytes::<16>()?;
    // A serial number is positive and its first byte is not zero.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - CLOCK_SKEW_MAX).into();
    // Ten years at the most, so that a mistaken validity cannot overflow a date.
    params.not_after = (now + validity.clamp(Duration::ZERO, AUTHORITY_VALIDITY + DAY)).into();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

/// The cluster whose authority this certificate is of.
pub(crate) fn authority_cluster(
    certificate: &CertificateDer<'_>,
) -> Result<ClusterId, AuthorityError> {
    let refuse = |reason: &str| AuthorityError::NotAnAuthority {
        reason: reason.to_owned(),
    };
    let uris = flocker_uris(certificate).map_err(|error| refuse(&error.to_string()))?;
    let [uri] = uris.as_slice() else {
        return Err(refuse("it does not name one cluster"));
    };
    cluster_of_authority(uri).ok_or_else(|| {
        refuse(&format!(
            "it belongs to {uri}, a member, not to an authority"
        ))
    })
}

fn has_public_key(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| {
        parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
    })
}

#[cfg(test)]
#[path = "authority_test.rs"]
mod tests;
