//! A node of the test world: an agent's core, a pool and containers as values in memory, and the
//! jobs carried out on them.

use super::transfer;
use flocker_core::agent::{
    Agent, ContainerRunSeen, ContainerSeen, Event, Job, JobId, JobOutcome, Ledger, Output, Start,
};
use flocker_types::ids::{BootId, ClusterId, NodeId, ServiceId, SnapshotName, VolumeId};
use flocker_types::link::AgentHello;
use flocker_types::task::{Failure, Prepared, Retry, VolumeClaim};
use flocker_types::time::{Now, UnixMs};
use flocker_types::volume::{
    Checksum, PoolUsage, Role, Snapshot, StorageKind, VolumeCopy, VolumeLabel,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use uuid::Uuid;

/// A job on its way to be carried out.
#[derive(Debug)]
pub(crate) struct JobParcel {
    pub(crate) job: JobId,
    pub(crate) work: Job,
}

/// One copy of a volume: its label, its snapshots' contents, and what is being written.
#[derive(Debug, Clone)]
pub(crate) struct StoredVolume {
    pub(super) label: VolumeLabel,
    pub(super) snapshots: Vec<(SnapshotName, Vec<u64>, Option<Checksum>)>,
    pub(super) live: Option<Vec<u64>>,
}

/// A pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    pub(crate) volumes: BTreeMap<VolumeId, StoredVolume>,
}

#[derive(Debug, Clone)]
struct Container {
    fingerprint: String,
    address: Ipv4Addr,
    volumes: Vec<VolumeId>,
    run: ContainerRunSeen,
}

/// A node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: Ipv4Addr,
    pub(crate) agent: Option<Agent>,
    pub(crate) ledger: Ledger,
    pub(crate) pool: Pool,
    /// Counts the agent's processes, so that news for a dead one are dropped.
    pub(crate) life: u64,
    /// A node that it cannot reach.
    pub(crate) cut_from: Option<NodeId>,
    /// Counts the jobs that started or stopped a container.
    pub(crate) interventions: u64,
    boot: BootId,
    containers: BTreeMap<ServiceId, Container>,
}

pub(crate) fn failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        retry: Retry::MayHelp,
    }
}

impl StoredVolume {
    pub(super) fn copy(&self) -> VolumeCopy {
        VolumeCopy {
            label: self.label.clone(),
            role: if self.live.is_some() {
                Role::Holder
            } else {
                Role::Replica
            },
            snapshots: self
                .snapshots
                .iter()
                .map(|(name, _, checksum)| Snapshot {
                    name: name.clone(),
                    checksum: checksum.clone(),
                    created: UnixMs(0),
                })
                .collect(),
            used_bytes: Some(1 << 20),
        }
    }

    pub(super) fn content_at(&self, name: &SnapshotName) -> Option<Vec<u64>> {
        self.snapshots
            .iter()
            .find(|(n, _, _)| n == name)
            .map(|(_, content, _)| content.clone())
    }
}

impl Pool {
    /// Volumes with a writable copy here.
    pub(crate) fn holders(&self) -> Vec<VolumeId> {
        self.volumes
            .iter()
            .filter(|(_, v)| v.live.is_some())
            .map(|(id, _)| *id)
            .collect()
    }

    fn promote(&mut self, claim: &VolumeClaim) -> Result<VolumeCopy, Failure> {
        let id = claim.label.id;
        let volume = self
            .volumes
            .get_mut(&id)
            .ok_or_else(|| failure("no such volume"))?;
        let goes_on = claim.head.is_none() && volume.label.epoch < claim.label.epoch;
        let held = volume.live.is_some() && (volume.label.epoch == claim.label.epoch || goes_on);
        if !held {
            if volume.live.is_some() {
                return Err(failure("it is held here in another epoch"));
            }
            assert!(
                volume.label.epoch < claim.label.epoch,
                "promotion to an old epoch"
            );
            let head = claim
                .head
                .as_ref()
                .expect("a replica is promoted at a head");
            let content = volume
                .content_at(head)
                .ok_or_else(|| failure("head is not here"))?;
            volume.live = Some(content);
        }
        volume.label = claim.label.clone();
        Ok(volume.copy())
    }
}

impl Node {
    pub(crate) fn new(id: NodeId, address: Ipv4Addr) -> Self {
        Self {
            id,
            address,
            agent: None,
            ledger: Ledger::default(),
            pool: Pool::default(),
            life: 0,
            cut_from: None,
            interventions: 0,
            boot: BootId(Uuid::from_u128(1)),
            containers: BTreeMap::new(),
        }
    }

    /// The agent's process starts.
    pub(crate) fn start(&mut self, now: Now) -> Output {
        self.life += 1;
        let hello = AgentHello {
            cluster: ClusterId(Uuid::from_u128(99)),
            node: self.id,
            name: Some(
                format!("n{}", self.id.0.as_u128())
                    .parse()
                    .expect("a valid name"),
            ),
            boot: self.boot,
            version: "test".to_owned(),
            stream_address: (self.address, 4524).into(),
            node_address: self.address,
            storage: StorageKind::Btrfs,
            pool: PoolUsage {
                size_bytes: 1 << 40,
                free_bytes: 1 << 39,
            },
            volumes: Vec::new(),
            services: Vec::new(),
        };
        let start = Start {
            node: self.id,
            boot: self.boot,
            ledger: self.ledger.clone(),
            volumes: self.pool.volumes.values().map(StoredVolume::copy).collect(),
            containers: self.seen(),
            hello,
            container_network: "10.213.0.0/16".parse().expect("a network"),
        };
        let (agent, output) = Agent::new(now, start);
        self.agent = Some(agent);
        output
    }

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

    /// Running services whose shells, if the agent runs, would watch them.
    pub(crate) fn running(&self) -> Vec<ServiceId> {
        let runs = |c: &Container| c.run == ContainerRunSeen::Running;
        self.containers
            .iter()
            .filter(|(_, c)| runs(c))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Whether a running container has the volume.
    pub(crate) fn writes(&self, volume: VolumeId) -> bool {
        self.containers
            .values()
            .any(|c| c.run == ContainerRunSeen::Running && c.volumes.contains(&volume))
    }

    pub(crate) fn write(&mut self, service: &ServiceId, record: u64) {
        for id in self.containers[service].volumes.clone() {
            let volume = self
                .pool
                .volumes
                .get_mut(&id)
                .expect("a running container's volume");
            volume.live.as_mut().expect("writable").push(record);
        }
    }

    pub(crate) fn read(&self, service: &ServiceId) -> Vec<u64> {
        let id = self.containers[service].volumes[0];
        self.pool.volumes[&id].live.clone().expect("writable")
    }

    /// The whole machine loses power and comes back; its agent is not started yet.
    pub(crate) fn reboot(&mut self) {
        self.boot = BootId(Uuid::from_u128(self.boot.0.as_u128() + 1));
        for container in self.containers.values_mut() {
            if container.run == ContainerRunSeen::Running {
                container.run = ContainerRunSeen::Exited { code: Some(137) };
            }
        }
    }

    /// Somebody takes a container away.
    pub(crate) fn remove_container(&mut self, service: &ServiceId) {
        self.containers.remove(service);
    }

    /// A container ends by itself.
    pub(crate) fn crash_container(&mut self, service: &ServiceId, code: i64) {
        let container = self.containers.get_mut(service).expect("a container");
        container.run = ContainerRunSeen::Exited { code: Some(code) };
    }

    fn prepared(address: Ipv4Addr) -> Prepared {
        Prepared {
            image_id: "sha256:1".to_owned(),
            exposed_ports: vec![5432],
            address,
        }
    }
}

/// Carries out a job and says what nodes' cores are to be told.
pub(crate) fn carry_out(
    nodes: &mut BTreeMap<NodeId, Node>,
    id: NodeId,
    parcel: JobParcel,
) -> Vec<(NodeId, Event)> {
    let JobParcel { job, work } = parcel;
    if let Job::Copy {
        volumes, target, ..
    } = work
    {
        return transfer::copy(nodes, id, job, &volumes, target.node);
    }
    let node = nodes.get_mut(&id).expect("a node");
    let mut more = Vec::new();
    if let Job::Run { service, .. } = &work {
        more.push((
            id,
            Event::Ready {
                service: service.clone(),
            },
        ));
    }
    let result = local(node, work);
    if result.is_err() {
        more.clear();
    }
    more.insert(0, (id, Event::JobDone { job, result }));
    more
}

fn local(node: &mut Node, work: Job) -> Result<JobOutcome, Failure> {
    if matches!(
        work,
        Job::Run { .. } | Job::Stop { .. } | Job::RemoveContainer { .. }
    ) {
        node.interventions += 1;
    }
    match work {
        Job::CreateVolume { label } => {
            let volume = node
                .pool
                .volumes
                .entry(label.id)
                .or_insert_with(|| StoredVolume {
                    label,
                    snapshots: Vec::new(),
                    live: Some(Vec::new()),
                });
            Ok(JobOutcome::Volumes(vec![volume.copy()]))
        }
        Job::Prepare {
            service,
            container,
            address,
            fingerprint,
            ..
        } => {
            let new = Container {
                fingerprint,
                address,
                volumes: container.volumes.clone(),
                run: ContainerRunSeen::Created,
            };
            let runs = node.running().contains(&service);
            if !runs {
                node.containers.insert(service, new);
            }
            Ok(JobOutcome::Prepared(Node::prepared(address)))
        }
        Job::Run {
            service,
            container,
            address,
            fingerprint,
            volumes,
        } => {
            let mut copies = Vec::new();
            for claim in &volumes {
                copies.push(node.pool.promote(claim)?);
            }
            let run = ContainerRunSeen::Running;
            let volumes = container.volumes.clone();
            node.containers.insert(
                service,
                Container {
                    fingerprint,
                    address,
                    volumes,
                    run,
                },
            );
            Ok(JobOutcome::Running {
                prepared: Node::prepared(address),
                volumes: copies,
            })
        }
        work => stop_or_pool(node, work),
    }
}

fn stop_or_pool(node: &mut Node, work: Job) -> Result<JobOutcome, Failure> {
    match work {
        Job::Stop { service, .. } => match node.containers.get_mut(&service) {
            Some(container) => {
                container.run = ContainerRunSeen::Exited { code: Some(0) };
                Ok(JobOutcome::Stopped { code: Some(0) })
            }
            None => Ok(JobOutcome::Stopped { code: None }),
        },
        Job::RemoveContainer { service } => {
            assert!(
                !node.running().contains(&service),
                "a running container is not removed"
            );
            node.containers.remove(&service);
            Ok(JobOutcome::Done)
        }
        work => on_pool(node, work),
    }
}

fn on_pool(node: &mut Node, work: Job) -> Result<JobOutcome, Failure> {
    match work {
        Job::Demote {
            volume,
            epoch,
            head,
        } => {
            assert!(!node.writes(volume), "a volume in use is not demoted");
            let stored = node
                .pool
                .volumes
                .get_mut(&volume)
                .ok_or_else(|| failure("no volume"))?;
            if let Some(live) = stored.live.take() {
                assert_eq!(
                    stored.content_at(&head),
                    Some(live),
                    "a tail where none may be"
                );
            }
            stored.label.epoch = epoch;
            Ok(JobOutcome::Volumes(vec![stored.copy()]))
        }
        Job::Prune { volume, delete } => {
            let stored = node
                .pool
                .volumes
                .get_mut(&volume)
                .ok_or_else(|| failure("no volume"))?;
            stored
                .snapshots
                .retain(|(name, _, _)| !delete.contains(name));
            Ok(JobOutcome::Volumes(vec![stored.copy()]))
        }
        Job::Destroy { volume } => {
            assert!(!node.writes(volume), "a volume in use is not destroyed");
            node.pool.volumes.remove(&volume);
            Ok(JobOutcome::Gone(volume))
        }
        other => unreachable!("not about the pool: {other:?}"),
    }
}
