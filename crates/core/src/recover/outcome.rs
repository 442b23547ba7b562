//! What a recovery says: the state, what it could not know, and what it refuses to guess.

use crate::cluster::State;
use flocker_types::ids::{Epoch, NodeName, ServiceId, SnapshotName, VolumeId, VolumeName};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// The state made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// With which control goes on. All of it is to be written.
    pub state: State,
    /// What is not in it, or was assumed.
    pub unknowns: Vec<Unknown>,
}

/// How much of a kind is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Nothing of it.
    Everything,
    /// What came after the base.
    Later,
}

/// Something that no node could tell. Its text is a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// Operations.
    Operations(Without),
    /// Users, and revocations of which no node knows.
    Users(Without),
    /// Measured times.
    Learned,
    /// When nodes joined.
    JoinTimes,
    /// Join tokens.
    Tokens,
    /// Volumes that a person had deleted and whose grace time was running.
    Deletions,
    /// Nodes that are known and have not come.
    NodesMissing(BTreeSet<String>),
    /// Whether more nodes belong to the cluster.
    NodesNotKnown,
    /// A node's name; this one was made up.
    NodeName(NodeName),
    /// A service's address for others; this one was chosen.
    ClusterAddress(ServiceId, Ipv4Addr),
    /// A service has a container on a node, and nobody knows how it is described.
    Description(ServiceId, String),
    /// A service's container or its node's proxy is not known, so clients are refused for now.
    Route(ServiceId, String),
    /// A service was being stopped on a node; it stays so because other nodes may run it.
    Interrupted(ServiceId, String),
    /// A service was being stopped on a node; it is started there again.
    StartedAgain(ServiceId, String),
    /// A container of a service that runs elsewhere, or on a volume that is held elsewhere, is to go.
    SecondCopy(ServiceId, String),
    /// Two volumes have one name; this one has another name now.
    Renamed(VolumeName, VolumeName),
}

impl Unknown {
    /// The sentence of what concerns the whole cluster.
    fn of_cluster(&self) -> Option<&'static str> {
        Some(match self {
            Self::Operations(Without::Everything) => {
                "operations: what was going on is given up, and the record of what has ended is gone"
            }
            Self::Operations(Without::Later) => {
                "operations: what was going on is given up, and what ended after the backup is not \
                 recorded"
            }
            Self::Users(Without::Everything) => {
                "users, and what was revoked when no node that has come was connected: compare with the \
                 audit log, and revoke it anew (flocker user revoke, flocker node revoke)"
            }
            Self::Users(Without::Later) => {
                "users let in after the backup, and what was revoked since when no node that has come \
                 was connected: compare with the audit log, and revoke it anew (flocker user revoke, \
                 flocker node revoke)"
            }
            Self::Learned => {
                "measured stop, start and copy times: predictions begin anew with the next move"
            }
            Self::JoinTimes => "when the nodes joined: shown as now",
            Self::Tokens => "join tokens: all are void; `flocker token` makes new ones",
            Self::Deletions => {
                "deletions of volumes whose grace time was running: they are taken back; `flocker \
                 volume ls` shows the volumes, `flocker volume rm` deletes them again"
            }
            Self::NodesNotKnown => {
                "whether these are all nodes: one that comes later is refused until `flocker recover` \
                 is run again; --nodes or --expect says who has to come"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sentence) = self.of_cluster() {
            return f.write_str(sentence);
        }
        match self {
            Self::Operations(_)
            | Self::Users(_)
            | Self::Learned
            | Self::JoinTimes
            | Self::Tokens
            | Self::Deletions
            | Self::NodesNotKnown => Ok(()),
            Self::NodesMissing(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let names = names.join(", ");
                write!(
                    f,
                    "what is on {names}: not connected; run `flocker recover` again when it is"
                )
            }
            Self::NodeName(name) => write!(
                f,
                "the name of a node whose agent is of an older version: it is called {name} now"
            ),
            Self::ClusterAddress(service, address) => write!(
                f,
                "the address of {service} for other services: {address} was chosen; services that \
                 link to it reach it after their next deployment"
            ),
            Self::Description(service, node) => write!(
                f,
                "what {service} is, whose container is on {node}: left alone, as is its data; \
                 `flocker deploy` takes it over"
            ),
            Self::Route(service, node) => write!(
                f,
                "where {service} is reached on {node}: clients are refused until its agent and \
                 proxy have connected and it is deployed again"
            ),
            Self::Interrupted(service, node) => write!(
                f,
                "whether {service}, which an operation had stopped on {node}, has been started on a \
                 node that is not connected: it stays stopped; `flocker deploy` starts it"
            ),
            Self::StartedAgain(service, node) => write!(
                f,
                "why {service} was being stopped on {node} (a move, a change or a removal that did \
                 not end): it is started there again"
            ),
            Self::SecondCopy(service, node) => write!(
                f,
                "why {node} has an older order to run {service}: its container there is removed, \
                 its data is kept"
            ),
            Self::Renamed(old, new) => write!(
                f,
                "which of two volumes named {old} is the right one: the one that is not in use is \
                 called {new} now"
            ),
        }
    }
}

/// A copy of a volume, as a conflict shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySeen {
    /// Its node, by name.
    pub node: String,
    /// Its epoch there.
    pub epoch: Epoch,
    /// Its newest snapshot.
    pub newest: Option<SnapshotName>,
}

/// Something that is not guessed. Its text says what the operator has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Several nodes hold a volume in the same epoch.
    TwoHolders {
        /// Its name.
        name: VolumeName,
        /// Which.
        volume: VolumeId,
        /// The epoch.
        epoch: Epoch,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// The node that holds a volume has not come: its epoch is known from elsewhere, or there are only
    /// replicas.
    HolderAway {
        /// Its name.
        name: VolumeName,
        /// Which.
        volume: VolumeId,
        /// The newest epoch that somebody knows of.
        epoch: Epoch,
        /// The copies that are there.
        copies: Vec<CopySeen>,
    },
    /// The operator named a node that has no copy.
    NoSuchCopy {
        /// Its name.
        volume: VolumeId,
        /// The node.
        node: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoHolders {
                name,
                volume,
                epoch,
                nodes,
            } => {
                let nodes = nodes.join(" and ");
                let id = volume.short();
                write!(
                    f,
                    "volume {name} ({id}) is writable in epoch {epoch} on {nodes}; look which one is \
                     right and say so by --prefer {id}=NODE (the other copy stays as it is, unused)"
                )
            }
            Self::HolderAway {
                name,
                volume,
                epoch,
                copies,
            } => {
                let id = volume.short();
                write!(
                    f,
                    "volume {name} ({id}) is held in epoch {epoch} by a node that is not connected; \
                     connect it; if it is off and will not come back, say by --prefer {id}=NODE which \
                     copy goes on, losing what was written after its newest snapshot:"
                )?;
                for (index, copy) in copies.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let (node, epoch) = (&copy.node, copy.epoch);
                    let upto = match &copy.newest {
                        Some(newest) => format!("has epoch {epoch} up to {newest}"),
                        None => "has no whole snapshot".to_owned(),
                    };
                    write!(f, "{comma} {node} {upto}")?;
                }
                Ok(())
            }
            Self::NoSuchCopy { volume, node } => write!(
                f,
                "--prefer names {node} for volume {}, which has no copy of it",
                volume.short()
            ),
        }
    }
}
