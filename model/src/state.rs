//! The state of the whole model at one moment: the cores, what is durable, and everything on its way.

use crate::pool::Pool;
use crate::shared::{Print, Shared};
use flocker_core::agent::{Agent, ContainerRunSeen, ContainerSeen, Event, Job, JobId, Ledger};
use flocker_core::cluster::{Key, Record, VolumeRecord};
use flocker_core::control::Control;
use flocker_core::route::RouteTable;
use flocker_types::ids::{NodeId, ServiceId, SnapshotName, VolumeId};
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use flocker_types::task::{CopiedVolume, CopyVolume};
use flocker_types::volume::VolumeLabel;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

/// Control's durable records.
pub(crate) type Store = BTreeMap<Key, Record>;

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) clock_ms: u64,
    pub(crate) control: Option<Shared<Control>>,
    pub(crate) store: Shared<Store>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) next_session: u64,
    /// How many of the scenario's requests were made.
    pub(crate) asked: usize,
    /// Whether the engine tells of the ends of containers that it was asked to stop, and when it likes.
    pub(crate) news_are_late: bool,
    pub(crate) faults: u8,
    pub(crate) hurries: u8,
    /// How much was ever written to each volume.
    pub(crate) written: Vec<(VolumeId, u32)>,
}

/// A node: what survives its agent's process, and the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) agent: Option<Shared<Agent>>,
    /// Control has spoken to this process.
    pub(crate) confirmed: bool,
    pub(crate) boot: u8,
    pub(crate) ledger: Shared<Ledger>,
    pub(crate) pool: Shared<Pool>,
    pub(crate) engine: Shared<Engine>,
    pub(crate) jobs: Vec<Work>,
    /// Calls that the engine carries out although nobody waits for them any more.
    pub(crate) late: Vec<Shared<Job>>,
    /// What the agent's loop will hear of its own node, in order.
    pub(crate) inbox: VecDeque<Shared<Event>>,
    /// Running containers that have not been seen to be ready.
    pub(crate) probes: Vec<ServiceId>,
    /// Containers that have ended, of which the agent was not told.
    pub(crate) news: Vec<ServiceId>,
    pub(crate) receptions: Vec<Reception>,
}

/// A job under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    pub(crate) id: JobId,
    pub(crate) job: Shared<Job>,
    pub(crate) stage: Stage,
    /// Of a copy: the volumes that have arrived.
    pub(crate) copied: Vec<Shared<CopiedVolume>>,
}

impl Work {
    /// Whether it waits for its stream to arrive.
    pub(crate) fn is_sending(&self) -> bool {
        matches!(&*self.job, Job::Copy { .. }) && self.stage == Stage::Under
    }

    /// Whether all that is left is to say that it is done.
    pub(crate) fn is_done(&self) -> bool {
        matches!(&*self.job, Job::Run { .. }) && self.stage == Stage::Under
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    Begun,
    /// A copy has its snapshots; a start has its volumes.
    Ready,
    /// A stream is on its way; a container was started.
    Under,
}

/// A stream on its way into a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reception {
    pub(crate) from: usize,
    /// The sender's job; none when its process has died.
    pub(crate) job: Option<JobId>,
    pub(crate) copy: Shared<CopyVolume>,
    pub(crate) label: Shared<VolumeLabel>,
    /// On which snapshot of the target it builds.
    pub(crate) base: Option<SnapshotName>,
    /// What it brings.
    pub(crate) carried: Shared<Vec<(SnapshotName, u32)>>,
}

impl Reception {
    /// Whether it is what this job of this node sends.
    pub(crate) fn is_of(&self, node: usize, job: JobId) -> bool {
        self.from == node && self.job == Some(job)
    }
}

/// A connection of a node's agent to control. Each end may be gone before the other has noticed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    pub(crate) node: usize,
    pub(crate) session: u64,
    pub(crate) up: VecDeque<Shared<AgentMessage>>,
    pub(crate) down: VecDeque<Shared<ToAgent>>,
    /// Nothing comes after what is on its way.
    pub(crate) cut: bool,
    pub(crate) at_control: End,
    pub(crate) at_agent: End,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Open,
    Gone,
}

/// A node's proxy: a table that outlives connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    pub(crate) session: Option<u64>,
    pub(crate) table: Shared<RouteTable>,
    pub(crate) up: VecDeque<Shared<ProxyMessage>>,
    pub(crate) down: VecDeque<Shared<ToProxy>>,
}

/// A node's containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Engine {
    pub(crate) containers: BTreeMap<ServiceId, Container>,
}

/// A container.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) fingerprint: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) volumes: Vec<VolumeId>,
    pub(crate) run: ContainerRunSeen,
}

impl Engine {
    pub(crate) fn seen(&self) -> Vec<ContainerSeen> {
        let seen = |(service, container): (&ServiceId, &Container)| ContainerSeen {
            service: service.clone(),
            fingerprint: container.fingerprint.clone(),
            image_id: "sha256:1".to_owned(),
            exposed_ports: vec![5432],
            address: container.address,
            run: container.run.clone(),
        };
        self.containers.iter().map(seen).collect()
    }

    pub(crate) fn runs(&self, service: &ServiceId) -> bool {
        self.containers
            .get(service)
            .is_some_and(|container| container.run == ContainerRunSeen::Running)
    }

    /// Every container that runs.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&ServiceId, &Container)> {
        let all = self.containers.iter();
        all.filter(|(_, container)| container.run == ContainerRunSeen::Running)
    }

    /// Whether a running container has the volume.
    pub(crate) fn writes(&self, volume: VolumeId) -> bool {
        self.running()
            .any(|(_, container)| container.volumes.contains(&volume))
    }
}

impl State {
    /// What all of it hashes to: two states of one print are the same.
    pub(crate) fn print(&self) -> Print {
        let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
        other.write_u64(0x9e37_79b9_7f4a_7c15);
        self.hash(&mut one);
        self.hash(&mut other);
        (one.finish(), other.finish())
    }

    /// The present link of a node's agent, as that sees it.
    pub(crate) fn link_of(&mut self, node: usize) -> Option<&mut Link> {
        self.links
            .iter_mut()
            .find(|link| link.node == node && link.at_agent == End::Open)
    }

    pub(crate) fn index_of(&self, id: NodeId) -> usize {
        let found = self.nodes.iter().position(|node| node.id == id);
        found.expect("a node of the scenario")
    }

    pub(crate) fn volumes(&self) -> impl Iterator<Item = &VolumeRecord> {
        self.store.values().filter_map(|record| match record {
            Record::Volume(volume) => Some(volume),
            _ => None,
        })
    }

    /// Whether an operation goes on, as far as the store says.
    pub(crate) fn operates(&self) -> bool {
        let busy = |record: &Record| matches!(record, Record::Service(s) if s.operation.is_some());
        self.store.values().any(busy)
    }

    pub(crate) fn written(&self, volume: VolumeId) -> u32 {
        let found = self.written.iter().find(|(id, _)| *id == volume);
        found.map_or(0, |(_, count)| *count)
    }

    pub(crate) fn set_written(&mut self, volume: VolumeId, count: u32) {
        match self.written.iter_mut().find(|(id, _)| *id == volume) {
            Some((_, known)) => *known = count,
            None => self.written.push((volume, count)),
        }
    }

    /// Messages, jobs and news on their way.
    pub(crate) fn in_flight(&self) -> usize {
        let of_node = |node: &Node| {
            node.jobs.len()
                + node.late.len()
                + node.inbox.len()
                + node.probes.len()
                + node.news.len()
                + node.receptions.len()
        };
        let of_link = |link: &Link| link.up.len() + link.down.len();
        let of_proxy = |proxy: &Proxy| proxy.up.len() + proxy.down.len();
        self.nodes.iter().map(of_node).sum::<usize>()
            + self.links.iter().map(of_link).sum::<usize>()
            + self.proxies.iter().map(of_proxy).sum::<usize>()
    }
}
