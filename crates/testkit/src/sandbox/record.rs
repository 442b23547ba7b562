//! What a sandbox is called, and where everything of it is: `sandbox.json`, written before anything
//! is created, so that `down` finds all of it after a crash at any point.
//!
//! Read and written by the sandbox only. Every name here is a function of the record; nothing else
//! has to be remembered. Creates nothing on the machine but the record itself.

use super::SandboxError;
use flocker_types::volume::StorageKind;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where sandboxes live.
pub const BASE: &str = "/var/lib/flocker-sandbox";
/// Longest name of a sandbox, in bytes; socket paths must stay under the kernel's 108.
const NAME_BYTES_MAX: usize = 24;
/// Most nodes that a sandbox can have.
pub const NODES_MAX: u8 = 50;
/// Second number of the addresses: sandboxes use 10.217.0.0/16.
const SUBNET_SECOND: u8 = 217;
/// Last number of the bridge's address.
const BRIDGE_LAST: u8 = 254;

/// A sandbox's name: small letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxName(String);

impl SandboxName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SandboxName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SandboxName {
    type Err = SandboxError;

    fn from_str(name: &str) -> Result<Self, SandboxError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let whole = name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(plain)
            && name.len() <= NAME_BYTES_MAX;
        if whole {
            return Ok(Self(name.to_owned()));
        }
        Err(SandboxError::Invalid {
            what: format!("\"{name}\" cannot be a sandbox's name"),
            hint: format!(
                "use up to {NAME_BYTES_MAX} small letters, digits and dashes, beginning with a \
                 letter or digit"
            ),
        })
    }
}

impl TryFrom<String> for SandboxName {
    type Error = SandboxError;

    fn try_from(name: String) -> Result<Self, SandboxError> {
        name.parse()
    }
}

impl From<SandboxName> for String {
    fn from(name: SandboxName) -> Self {
        name.0
    }
}

/// A /24 of addresses, known by its third number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The third number of its addresses.
    pub third: u8,
}

impl Subnet {
    /// An address in it.
    pub fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, SUBNET_SECOND, self.third, last)
    }

    /// The address of the bridge, by which the machine itself reaches the nodes.
    pub fn bridge_address(self) -> Ipv4Addr {
        self.address(BRIDGE_LAST)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/24", self.address(0))
    }
}

/// What a sandbox is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// Its name.
    pub name: SandboxName,
    /// The network that its bridge is in, by the number of its namespace.
    #[serde(default)]
    pub machine: u64,
    /// Its addresses.
    pub subnet: Subnet,
    /// How many nodes it has; they are called n1, n2 ...
    pub nodes: u8,
    /// What the nodes' pools are made of.
    pub storage: StorageKind,
    /// How large each pool may grow.
    pub pool_bytes: u64,
    /// The program that runs as control, agent and proxy; none in a bare sandbox.
    pub flocker: Option<PathBuf>,
}

impl SandboxRecord {
    /// The directory of everything that the sandbox keeps.
    pub fn directory(&self) -> PathBuf {
        directory_of(&self.name)
    }

    /// The nodes.
    pub fn all_nodes(&self) -> impl Iterator<Item = NodePlace> + '_ {
        (1..=self.nodes).map(|index| NodePlace::new(self, index))
    }

    /// The bridge between the nodes.
    pub fn bridge(&self) -> String {
        format!("flkb{SUBNET_SECOND}-{}", self.subnet.third)
    }

    /// The nftables table with the way to the Internet.
    pub fn nat_table(&self) -> String {
        format!("flk_{SUBNET_SECOND}_{}", self.subnet.third)
    }

    /// What the command line calls the cluster.
    pub fn context(&self) -> String {
        format!("sandbox-{}", self.name)
    }

    /// Writes the record durably, replacing an older one in one step.
    pub fn save(&self) -> Result<(), SandboxError> {
        let path = self.directory().join("sandbox.json");
        let draft = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        text.and_then(|text| {
            fs::create_dir_all(self.directory())?;
            fs::write(&draft, text)?;
            fs::File::open(&draft)?.sync_all()?;
            fs::rename(&draft, &path)
        })
        .map_err(SandboxError::file("write", &path))
    }

    /// Reads the record of a sandbox; none when there is no such sandbox.
    pub fn load(name: &SandboxName) -> Result<Option<Self>, SandboxError> {
        let path = directory_of(name).join("sandbox.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(io::Error::other)
                .map_err(SandboxError::file("understand", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SandboxError::file("read", &path)(error)),
        }
    }

    /// Every sandbox on this machine, by name.
    pub fn load_all() -> Result<Vec<Self>, SandboxError> {
        let base = Path::new(BASE);
        let entries = match fs::read_dir(base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(SandboxError::file("read", base)(error)),
        };
        let mut records = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(name) = name.parse() {
                records.extend(Self::load(&name)?);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }
}

/// Where a sandbox keeps everything.
pub(super) fn directory_of(name: &SandboxName) -> PathBuf {
    Path::new(BASE).join(name.as_str())
}

/// Where everything of one node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    /// Its name: n1, n2 ...
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network namespace.
    pub namespace: String,
    /// The machine's end of its cable.
    pub cable: String,
    /// Its directory.
    pub directory: PathBuf,
    /// The control group of its containers.
    pub control_group: String,
}

impl NodePlace {
    fn new(record: &SandboxRecord, index: u8) -> Self {
        let name = format!("n{index}");
        Self {
            address: record.subnet.address(index),
            namespace: format!("flk-{}-{name}", record.name),
            cable: format!("flkv{SUBNET_SECOND}-{}-{index}", record.subnet.third),
            directory: record.directory().join(&name),
            control_group: format!("flk-{}-{name}", record.name),
            name,
        }
    }

    /// The file that stands for its network namespace.
    pub fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }

    /// The socket of its Docker engine.
    pub fn docker_socket(&self) -> PathBuf {
        self.directory.join("docker/docker.sock")
    }

    /// The state directory of its agent (and of control, on the first node).
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The log of one of its processes.
    pub fn log(&self, role: &str) -> PathBuf {
        self.directory.join("log").join(format!("{role}.log"))
    }

    /// The record of one of its processes.
    pub(super) fn process_file(&self, role: &str) -> PathBuf {
        self.directory.join("run").join(role)
    }

    /// The file that its pool is made of.
    pub(super) fn pool_file(&self) -> PathBuf {
        self.directory.join("pool.img")
    }

    /// The name of its ZFS pool, where it has one.
    pub(super) fn zfs_pool(&self) -> String {
        self.namespace.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> SandboxRecord {
        SandboxRecord {
            name: "shop".parse().unwrap(),
            machine: 1,
            subnet: Subnet { third: 255 },
            nodes: NODES_MAX,
            storage: StorageKind::Btrfs,
            pool_bytes: 1 << 30,
            flocker: None,
        }
    }

    #[test]
    fn names_fit_what_the_kernel_takes() {
        let mut record = record();
        record.name = "x".repeat(NAME_BYTES_MAX).parse().unwrap();
        assert!(record.bridge().len() <= 15);
        for node in record.all_nodes() {
            assert!(node.cable.len() <= 15, "{}", node.cable);
            assert!(node.docker_socket().as_os_str().len() < 108);
        }
        assert_eq!(record.all_nodes().count(), usize::from(NODES_MAX));
    }

    #[test]
    fn bad_names_are_refused_with_what_to_use_instead() {
        for bad in ["", "a b", "../etc", "A", "-a", &"x".repeat(25)] {
            let error = bad.parse::<SandboxName>().unwrap_err();
            assert!(error.to_string().contains("small letters"), "{error}");
        }
        let text = serde_json::to_string(&record()).unwrap();
        assert!(serde_json::from_str::<SandboxRecord>(&text.replace("shop", "../etc")).is_err());
        assert_eq!(
            serde_json::from_str::<SandboxRecord>(&text).unwrap(),
            record()
        );
    }
}
