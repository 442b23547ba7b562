//! What control is started with, and where its files are.
//!
//! The command line fills it in. Nothing is read from anywhere else.

use flocker_net::link::LinkLimits;
use flocker_net::pki::NODE_VALIDITY;
use flocker_net::serve::ServeLimits;
use flocker_net::tls::CredentialFiles;
use flocker_types::ids::NodeId;
use flocker_types::limits::OperationLimits;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Messages that may wait for one agent or proxy. A large deployment tells every proxy thousands of
/// routes in one step; one that is closed for a full queue is welcomed with all of them anew.
pub const LINK_QUEUE_MESSAGES_MAX: usize = 8_192;

/// Port on which control answers when none is given.
pub const API_PORT_DEFAULT: u16 = 4523;

/// How control runs.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Where to listen for the API and the links.
    pub api_listen: SocketAddr,
    /// Where nodes reach it; when none is given, the address of `node` (or the one in
    /// `api_listen`, if that is one) with the port that it listens on.
    pub advertise: Option<SocketAddr>,
    /// Where its files are. Nobody else may use them.
    pub state_dir: PathBuf,
    /// The node on which it runs.
    pub node: NodeId,
    /// For how long certificates are issued.
    pub certificate_validity: Duration,
    /// How long operations wait.
    pub operation: OperationLimits,
    /// Limits of the HTTPS server.
    pub serve: ServeLimits,
    /// Limits of the links of agents and proxies.
    pub link: LinkLimits,
}

impl ControlConfig {
    /// Everything at its default but what has none.
    pub fn new(api_listen: SocketAddr, state_dir: PathBuf, node: NodeId) -> Self {
        Self {
            api_listen,
            advertise: None,
            state_dir,
            node,
            certificate_validity: NODE_VALIDITY,
            operation: OperationLimits::default(),
            serve: ServeLimits::default(),
            link: LinkLimits {
                queue_messages_max: LINK_QUEUE_MESSAGES_MAX,
                ..LinkLimits::default()
            },
        }
    }
}

/// The files in control's state directory.
#[derive(Debug, Clone)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// The files in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The directory itself; also that of control's own [`CredentialFiles::CONTROL`].
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The state store.
    pub fn store(&self) -> PathBuf {
        self.0.join("state.redb")
    }

    /// The directory of the audit log.
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// The authority's certificate.
    pub fn authority_certificate(&self) -> PathBuf {
        self.0.join(CredentialFiles::CONTROL.authority)
    }

    /// How far a change of the authority is, and the new one's key meanwhile.
    pub fn rotation(&self) -> PathBuf {
        self.0.join("rotation.json")
    }

    /// The newest certificate of each member that was seen.
    pub fn certificates(&self) -> PathBuf {
        self.0.join("certificates.json")
    }

    /// The authority's private key: whoever has it can let anybody into the cluster.
    pub fn authority_key(&self) -> PathBuf {
        self.0.join("ca.key")
    }
}
