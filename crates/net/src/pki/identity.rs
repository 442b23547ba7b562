//! Who a certificate speaks for.
//!
//! An identity stands in a certificate as one URI name. Everybody who meets a peer reads it from
//! the certificate that the TLS handshake has verified. What an identity may do is not decided here.

use flocker_types::access::UserRole;
use flocker_types::ids::{ClusterId, NodeId};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The one DNS name in every certificate of ours: TLS wants a name, we compare identities.
pub const DNS_NAME: &str = "flocker.internal";
/// Longest name of a user, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 64;

const SCHEME: &str = "flocker://";

/// Whom a certificate of the cluster speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The cluster whose authority vouches for it.
    pub cluster: ClusterId,
    /// What it is there.
    pub role: Role,
}

/// What somebody is in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Control.
    Control,
    /// The agent and the proxy of this node.
    Node(NodeId),
    /// A person or program that gives orders.
    User {
        /// The name.
        name: String,
        /// What it may do.
        role: UserRole,
    },
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::User { name, role } => write!(f, "user {name} ({role})"),
        }
    }
}

/// A text or a certificate names no identity of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// The bytes are not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It must be exactly one.
    #[error(
        "the certificate names {found} identities of a Flocker cluster instead of one; \
         it was not issued by `flocker`"
    )]
    Count {
        /// How many there are.
        found: usize,
    },
    /// The text is not `flocker://<cluster>/control`, `.../node/<id>` or `.../user/<role>/<name>`.
    #[error("\"{text}\" is not the identity of a Flocker cluster's member: {reason}")]
    Text {
        /// The text.
        text: String,
        /// Which part is wrong.
        reason: &'static str,
    },
    /// A user's name has to fit in a URI as it is.
    #[error(
        "\"{name}\" is not a valid user name: 1 to 64 letters, digits, '_', '.', '@' and '-' \
         are allowed"
    )]
    UserName {
        /// The name.
        name: String,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/", self.cluster)?;
        match &self.role {
            Role::Control => f.write_str("control"),
            Role::Node(id) => write!(f, "node/{id}"),
            Role::User { name, role } => write!(f, "user/{role}/{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;
    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let fail = |reason| InvalidIdentity::Text {
            text: text.to_owned(),
            reason,
        };
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| fail("it does not begin with flocker://"))?;
        let (cluster, role) = rest
            .split_once('/')
            .ok_or_else(|| fail("it has no role after the cluster"))?;
        let cluster =
            canonical_uuid(cluster).ok_or_else(|| fail("the cluster's id is not a UUID"))?;
        let role = match role.split_once('/') {
            None if role == "control" => Role::Control,
            Some(("node", id)) => Role::Node(NodeId(
                canonical_uuid(id).ok_or_else(|| fail("the node's id is not a UUID"))?,
            )),
            Some(("user", user)) => {
                let (role, name) = user
                    .split_once('/')
                    .ok_or_else(|| fail("it says no role of the user"))?;
                check_user_name(name)?;
                Role::User {
                    name: name.to_owned(),
                    role: role
                        .parse()
                        .map_err(|_| fail("the user's role is none of ours"))?,
                }
            }
            _ => return Err(fail("it is not control, node/<id> or user/<role>/<name>")),
        };
        Ok(Self {
            cluster: ClusterId(cluster),
            role,
        })
    }
}

impl Identity {
    /// The identity in a certificate. It proves nothing by itself: verify the chain first.
    ///
    /// # Errors
    /// [`InvalidIdentity`] unless the certificate carries exactly one well-formed identity.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, InvalidIdentity> {
        let uris = flocker_uris(certificate)?;
        match uris.as_slice() {
            [uri] => uri.parse(),
            _ => Err(InvalidIdentity::Count { found: uris.len() }),
        }
    }
}

/// Every URI name in the certificate that is meant for us. One in another scheme is somebody
/// else's business.
pub(super) fn flocker_uris(certificate: &[u8]) -> Result<Vec<String>, InvalidIdentity> {
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| InvalidIdentity::Unreadable)?;
    if !rest.is_empty() {
        return Err(InvalidIdentity::Unreadable);
    }
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| InvalidIdentity::Unreadable)?;
    let uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some((*uri).to_owned()),
            _ => None,
        });
    Ok(uris.collect())
}

/// The name of the authority itself, in its own certificate.
pub(super) fn authority_uri(cluster: ClusterId) -> String {
    format!("{SCHEME}{cluster}/authority")
}

/// The cluster in a name made by [`authority_uri`].
pub(super) fn cluster_of_authority(uri: &str) -> Option<ClusterId> {
    let cluster = uri.strip_prefix(SCHEME)?.strip_suffix("/authority")?;
    canonical_uuid(cluster).map(ClusterId)
}

/// Users' names appear in URIs and in logs, so they keep to characters that mean nothing there.
///
/// # Errors
/// [`InvalidIdentity::UserName`].
pub fn check_user_name(name: &str) -> Result<(), InvalidIdentity> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    if name.is_empty() || name.len() > USER_NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(InvalidIdentity::UserName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Only the form in which we write UUIDs: one identity has one text.
fn canonical_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::parse_str(text).ok()?;
    (uuid.hyphenated().to_string() == text).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_what_it_shows() {
        let cluster = ClusterId(Uuid::from_u128(7));
        for role in [
            Role::Control,
            Role::Node(NodeId(Uuid::from_u128(8))),
            Role::User {
                name: "ops@example.org".to_owned(),
                role: UserRole::Operator,
            },
        ] {
            let identity = Identity { cluster, role };
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn nothing_but_the_exact_form_is_an_identity() {
        let cluster = Uuid::from_u128(7);
        for bad in [
            "https://example.org/".to_owned(),
            "flocker://".to_owned(),
            format!("flocker://{cluster}"),
            format!("flocker://{cluster}/"),
            format!("flocker://{cluster}/Control"),
            format!("flocker://{cluster}/control/"),
            format!("flocker://{cluster}/authority"),
            format!("flocker://{cluster}/node/"),
            format!("flocker://{cluster}/node/{}", cluster.simple()),
            format!(
                "flocker://{}/control",
                cluster.hyphenated().to_string().to_uppercase() + "A"
            ),
            format!("flocker://{cluster}/user/"),
            format!("flocker://{cluster}/user/a"),
            format!("flocker://{cluster}/user/a/b"),
            format!("flocker://{cluster}/user/admin/"),
            format!("flocker://{cluster}/user/admin/a/b"),
            format!("flocker://{cluster}/user/Admin/a"),
            format!("flocker://{cluster}/user/admin/{}", "a".repeat(65)),
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
