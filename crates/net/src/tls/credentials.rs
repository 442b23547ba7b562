//! What a process shows to prove who it is, and the authority that it trusts.
//!
//! Loaded once by each process at its start and handed to whoever connects or listens. A value:
//! swapping in newer ones is to clone the new value into the place of the old.

use super::provider;
use crate::pki::{
    AuthorityError, FileError, Fingerprint, Identity, InvalidIdentity, Issued, authority_cluster,
    fingerprint, read_text, write_secret,
};
use flocker_types::ids::ClusterId;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Names of the files within a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The authority's certificate.
    pub authority: &'static str,
    /// The own certificate.
    pub certificate: &'static str,
    /// The own private key.
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

/// A certificate, its key, and the authority that is trusted. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    identity: Identity,
    authority: CertificateDer<'static>,
    roots: Arc<RootCertStore>,
    certified_key: Arc<CertifiedKey>,
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
    /// From the text of certificate, key and authority.
    ///
    /// # Errors
    /// [`CredentialsError`] says which of them is wrong.
    pub fn from_pem(
        certificate_pem: &str,
        key_pem: &str,
        authority_pem: &str,
    ) -> Result<Self, CredentialsError> {
        let pem = |what| move |source| CredentialsError::Pem { what, source };
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(pem("the certificate"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(pem("the private key"))?;
        let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes())
            .map_err(pem("the authority's certificate"))?;
        let identity = Identity::from_certificate(&certificate)?;
        let cluster = authority_cluster(&authority)?;
        if cluster != identity.cluster {
            return Err(CredentialsError::OtherCluster {
                certificate: identity.cluster,
                authority: cluster,
            });
        }
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.clone())
            .map_err(|source| CredentialsError::Unusable {
                what: "the authority's certificate cannot be used",
                source,
            })?;
        // The authority's certificate is shown too: a joiner knows only its fingerprint.
        let chain = vec![certificate, authority.clone()];
        let certified_key = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| {
            CredentialsError::Unusable {
                what: "the private key cannot be used with the certificate",
                source,
            }
        })?;
        Ok(Self(Arc::new(Inner {
            identity,
            authority,
            roots: Arc::new(roots),
            certified_key: Arc::new(certified_key),
        })))
    }

    /// From files in a directory.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file.
    pub fn load(directory: &Path, files: CredentialFiles) -> Result<Self, CredentialsError> {
        let read = |name| read_text(&directory.join(name));
        let certificate = read(files.certificate)?;
        Self::from_pem(&certificate, &read(files.key)?, &read(files.authority)?)
    }

    /// Writes what [`Credentials::load`] reads, all readable for the owner only.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file.
    pub fn save(
        directory: &Path,
        files: CredentialFiles,
        issued: &Issued,
        authority_pem: &str,
    ) -> Result<(), CredentialsError> {
        write_secret(&directory.join(files.key), &issued.key_pem)?;
        write_secret(&directory.join(files.authority), authority_pem)?;
        write_secret(&directory.join(files.certificate), &issued.certificate_pem)?;
        Ok(())
    }

    /// Who they say we are.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// SHA-256 of the authority's certificate.
    pub fn authority_fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0.authority)
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0.roots)
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.certified_key)
    }
}

// Never the key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.0.identity)
    }
}
