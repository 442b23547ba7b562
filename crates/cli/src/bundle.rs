//! A context as one file, by which an admin hands a certificate to a user.
//!
//! `flocker user add` writes it, `flocker context import` reads it. Whoever has the file has the
//! certificate with its key.

use crate::context::ContextConfig;
use crate::failure::Failure;
use flocker_net::pki::{Issued, read_text, write_secret};
use flocker_net::tls::Credentials;
use flocker_types::ids::ClusterId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;

const HEAD: &str = "# A context of Flocker, with its private key: hand it over in secret, then delete it.\n\
     # flocker context import FILE takes it in.\n";

/// Everything that a context is made of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bundle {
    control: SocketAddr,
    cluster: ClusterId,
    authority: String,
    certificate: String,
    key: String,
}

impl Bundle {
    /// From its parts.
    pub(crate) fn new(config: &ContextConfig, issued: Issued, authority_pem: String) -> Self {
        Self {
            control: config.control,
            cluster: config.cluster,
            authority: authority_pem,
            certificate: issued.certificate_pem,
            key: issued.key_pem,
        }
    }

    /// Where control answers, and the cluster.
    pub(crate) fn config(&self) -> ContextConfig {
        ContextConfig {
            control: self.control,
            cluster: self.cluster,
        }
    }

    /// The certificate with its key, and the authorities.
    pub(crate) fn into_certificate(self) -> (Issued, String) {
        let issued = Issued {
            certificate_pem: self.certificate,
            key_pem: self.key,
        };
        (issued, self.authority)
    }

    /// Writes it into a file that only its owner may read. An existing file is not touched.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        check_free(path)?;
        let text = toml::to_string(self)
            .map_err(|error| Failure::because("the context cannot be written", &error))?;
        Ok(write_secret(path, &format!("{HEAD}{text}"))?)
    }

    /// Reads one, and checks that its parts fit together.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path)?;
        // The parser's words could quote the key.
        let bundle: Self = toml::from_str(&text).map_err(|_| {
            Failure::new(format!("{} is not a context of Flocker", path.display()))
                .hint("give the file that `flocker user add` has written, unchanged")
        })?;
        Credentials::from_pem(&bundle.certificate, &bundle.key, &bundle.authority)?;
        Ok(bundle)
    }
}

/// Refuses to write over a file.
pub(crate) fn check_free(path: &Path) -> Result<(), Failure> {
    match path.exists() {
        true => Err(
            Failure::new(format!("there is a file {} already", path.display()))
                .hint("choose another one by --out"),
        ),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_net::pki::{Authority, Identity, Role, USER_VALIDITY};
    use flocker_types::access::UserRole;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ann.flocker");
        let cluster = ClusterId(uuid::Uuid::new_v4());
        let authority = Authority::create(cluster).unwrap();
        let role = Role::User {
            name: "ann".to_owned(),
            role: UserRole::Viewer,
        };
        let identity = Identity { cluster, role };
        let issued = authority.issue(&identity, USER_VALIDITY).unwrap();
        let config = ContextConfig {
            control: "192.0.2.1:4523".parse().unwrap(),
            cluster,
        };
        let bundle = Bundle::new(&config, issued, authority.certificate_pem().to_owned());
        bundle.save(&path).unwrap();
        assert!(bundle.save(&path).is_err(), "it is there already");
        let read = Bundle::load(&path).unwrap();
        assert_eq!(read.config(), config);
        std::fs::write(&path, "key = \"hunter2\"").unwrap();
        let Some(Failure::Told(told)) = Bundle::load(&path).err() else {
            panic!("refused");
        };
        assert!(!format!("{told:?}").contains("hunter2"));
    }
}
