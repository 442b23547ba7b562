//! A node's state directory: `node.toml` and where the files of its roles are.
//!
//! `init` and `join` write it, the roles read it. What the roles keep there is their own business.

use crate::failure::Failure;
use flocker_core::cluster::Network;
use flocker_net::tls::{CredentialFiles, Credentials};
use flocker_storage::PoolSpec;
use flocker_types::ids::{ClusterId, NodeId, NodeName};
use flocker_types::limits::OperationLimits;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a node keeps everything when nothing else is said.
pub(crate) const STATE_DIR_DEFAULT: &str = "/var/lib/flocker";

/// `node.toml`: what a server knows about itself as a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The node's id.
    pub(crate) node: NodeId,
    /// Its name when it became a node.
    pub(crate) name: NodeName,
    /// Its address, at which other nodes reach it.
    pub(crate) address: Ipv4Addr,
    /// The first of its three ports: control, agent (one more), proxy (two more).
    pub(crate) port: u16,
    /// Where control answers.
    pub(crate) control: SocketAddr,
    /// Whether control runs here.
    pub(crate) has_control: bool,
    /// Where volumes are kept.
    #[serde(with = "as_text")]
    pub(crate) pool: PoolSpec,
    /// The container engine's socket.
    pub(crate) docker: PathBuf,
    /// Addresses of services.
    pub(crate) service_network: Network,
    /// Addresses of containers.
    pub(crate) container_network: Network,
    /// On control's server: for how long certificates are issued, when not for a year.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration_as_text"
    )]
    pub(crate) certificate_validity: Option<Duration>,
}

/// A duration as people write it: `90d`.
mod duration_as_text {
    use crate::quantity::parse_duration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "serde hands it over by reference")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|value| format!("{}s", value.as_secs()))
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| parse_duration(&text).map_err(D::Error::custom))
            .transpose()
    }
}

/// A pool as people write it.
mod as_text {
    use flocker_storage::PoolSpec;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(pool: &PoolSpec, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(pool)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PoolSpec, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl NodeFile {
    /// The port of the agent's stream listener.
    pub(crate) fn agent_port(&self) -> u16 {
        self.port.saturating_add(1)
    }

    /// The port at which other proxies reach this node's.
    pub(crate) fn proxy_port(&self) -> u16 {
        self.port.saturating_add(2)
    }
}

/// A node's state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// The directory, which may not be there yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn node_file(&self) -> PathBuf {
        self.0.join("node.toml")
    }

    /// The certificate of the node.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.0.join("certs")
    }

    /// Control's own directory.
    pub(crate) fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// The proxy's own directory.
    pub(crate) fn proxy(&self) -> PathBuf {
        self.0.join("proxy")
    }

    /// Whether this server is no node yet.
    pub(crate) fn is_free(&self) -> bool {
        !self.node_file().exists()
    }

    /// Refuses to make a second node of this server.
    pub(crate) fn check_free(&self) -> Result<(), Failure> {
        let path = self.node_file();
        match !self.is_free() {
            true => Err(Failure::new("this server is a node already").hint(format!(
                "{} says of which cluster; choose another --state-dir, or remove {} with \
                     everything in it if that cluster is not wanted any more",
                path.display(),
                self.0.display()
            ))),
            false => Ok(()),
        }
    }

    /// What the server knows about itself.
    pub(crate) fn load(&self) -> Result<NodeFile, Failure> {
        let path = self.node_file();
        let text = fs::read_to_string(&path).map_err(|error| {
            let failure = Failure::because(format!("cannot read {}", path.display()), &error);
            match error.kind() {
                ErrorKind::NotFound => failure.hint(
                    "make this server a node first: `flocker init`, or `flocker join` where there \
                     is a cluster; or name the right --state-dir",
                ),
                ErrorKind::PermissionDenied => failure.hint("run it as root"),
                _ => failure,
            }
        })?;
        toml::from_str(&text).map_err(|error| {
            Failure::because(format!("{} cannot be used", path.display()), &error)
                .hint("put it right; `flocker init` and `flocker join` have written it")
        })
    }

    /// Writes what [`StateDir::load`] reads; the last step of becoming a node.
    pub(crate) fn save(&self, node: &NodeFile) -> Result<(), Failure> {
        let text = toml::to_string(node)
            .map_err(|error| Failure::because("the node's file cannot be written", &error))?;
        Ok(flocker_net::pki::write_secret(&self.node_file(), &text)?)
    }

    /// How long operations wait: what `limits.toml` in control's directory says, if it is there.
    pub(crate) fn operation_limits(&self) -> Result<OperationLimits, Failure> {
        let path = self.control().join("limits.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => {
                let what = format!("cannot read {}", path.display());
                return Err(Failure::because(what, &error));
            }
        };
        toml::from_str(&text).map_err(|error| {
            Failure::because(format!("{} cannot be used", path.display()), &error)
                .hint("put it right, or remove it: every limit has a default")
        })
    }

    /// The node's certificate.
    pub(crate) fn credentials(&self) -> Result<Credentials, Failure> {
        let directory = self.certificates();
        Ok(Credentials::load(&directory, CredentialFiles::NODE)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeFile {
        NodeFile {
            cluster: "11111111-1111-4111-8111-111111111111".parse().unwrap(),
            node: "22222222-2222-4222-8222-222222222222".parse().unwrap(),
            name: NodeName::new("n1").unwrap(),
            address: Ipv4Addr::new(10, 0, 0, 1),
            port: 4523,
            control: "10.0.0.1:4523".parse().unwrap(),
            has_control: true,
            pool: "btrfs-image:/var/lib/flocker/pool.img,size=10G"
                .parse()
                .unwrap(),
            docker: "/var/run/docker.sock".into(),
            service_network: "10.214.0.0/16".parse().unwrap(),
            container_network: "10.213.0.0/16".parse().unwrap(),
            certificate_validity: Some(Duration::from_secs(90 * 86_400)),
        }
    }

    #[test]
    fn the_file_reads_what_it_writes() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path());
        state.check_free().unwrap();
        state.save(&node()).unwrap();
        assert_eq!(state.load().unwrap(), node());
        assert!(state.check_free().is_err(), "one server is one node");
        let text = fs::read_to_string(state.node_file()).unwrap();
        insta::assert_snapshot!(text, @r#"
        cluster = "11111111-1111-4111-8111-111111111111"
        node = "22222222-2222-4222-8222-222222222222"
        name = "n1"
        address = "10.0.0.1"
        port = 4523
        control = "10.0.0.1:4523"
        has_control = true
        pool = "btrfs-image:/var/lib/flocker/pool.img,size=10737418240"
        docker = "/var/run/docker.sock"
        service_network = "10.214.0.0/16"
        container_network = "10.213.0.0/16"
        certificate_validity = "7776000s"
        "#);
    }
}
