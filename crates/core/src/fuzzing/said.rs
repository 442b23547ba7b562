//! What may be named in a history, and messages made of that: true ones and others.

use super::input::Input;
use flocker_types::api::{LogLine, LogStream};
use flocker_types::ids::{
    ClusterId, Epoch, Generation, NodeId, OperationId, ServiceId, SnapshotName, TaskId, VolumeId,
};
use flocker_types::link::AgentMessage;
use flocker_types::task::{
    ContainerState, CopiedVolume, Failure, Prepared, Retry, ServiceStatus, TaskOutcome,
    TaskProgress, TaskReport,
};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Checksum, PoolUsage, Role, Snapshot, VolumeCopy, VolumeLabel};
use std::net::Ipv4Addr;
use uuid::Uuid;

pub(super) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(99));

pub(super) fn node_id(number: usize) -> NodeId {
    NodeId(Uuid::from_u128(u128::try_from(number).unwrap_or(0)))
}

/// The names that have come up so far.
pub(super) struct Names {
    pub(super) services: Vec<ServiceId>,
    pub(super) volumes: Vec<VolumeId>,
    pub(super) tasks: Vec<TaskId>,
    pub(super) snapshots: Vec<SnapshotName>,
    pub(super) generations: Vec<Generation>,
    pub(super) epochs: Vec<Epoch>,
}

impl Names {
    pub(super) fn new() -> Self {
        let name = |text: &str| text.parse().expect("a valid name");
        Self {
            services: ["a", "b", "shop/c"].map(name).to_vec(),
            volumes: vec![VolumeId(Uuid::from_u128(7))],
            tasks: vec![TaskId {
                operation: OperationId(Uuid::nil()),
                sequence: 1,
            }],
            snapshots: ["s1", "tail-e1", "tail-x"]
                .map(|text| SnapshotName::new(text).expect("a valid name"))
                .to_vec(),
            generations: Vec::new(),
            epochs: Vec::new(),
        }
    }

    /// Remembers something new, as long as there are not too many.
    pub(super) fn note<T: PartialEq>(of: &mut Vec<T>, new: T) {
        if of.len() < 200 && !of.contains(&new) {
            of.push(new);
        }
    }

    /// One of the services, now and then one that nobody knows.
    pub(super) fn service(&self, input: &mut Input<'_>) -> ServiceId {
        if input.one_in(8) {
            let text = format!("unknown-{}", input.byte());
            return text.parse().expect("a valid name");
        }
        input.pick(&self.services).expect("there are some")
    }

    pub(super) fn volume(&self, input: &mut Input<'_>) -> VolumeId {
        input.pick(&self.volumes).expect("there are some")
    }

    pub(super) fn task(&self, input: &mut Input<'_>) -> TaskId {
        input.pick(&self.tasks).expect("there are some")
    }

    pub(super) fn snapshot(&self, input: &mut Input<'_>) -> SnapshotName {
        input.pick(&self.snapshots).expect("there are some")
    }

    pub(super) fn generation(&self, input: &mut Input<'_>) -> Generation {
        let known = input.maybe(|input| input.pick(&self.generations)).flatten();
        known.unwrap_or_else(|| Generation(input.number()))
    }

    pub(super) fn epoch(&self, input: &mut Input<'_>) -> Epoch {
        let known = input.maybe(|input| input.pick(&self.epochs)).flatten();
        known.unwrap_or_else(|| Epoch(input.number()))
    }

    pub(super) fn label(&self, input: &mut Input<'_>) -> VolumeLabel {
        VolumeLabel {
            cluster: CLUSTER,
            id: self.volume(input),
            application: "shop".parse().expect("a valid name"),
            name: "data".parse().expect("a valid name"),
            epoch: self.epoch(input),
            size_bytes_max: input.maybe(Input::number),
            service: None,
        }
    }

    pub(super) fn copy(&self, input: &mut Input<'_>) -> VolumeCopy {
        VolumeCopy {
            label: self.label(input),
            role: role(input),
            snapshots: input.some(|input| {
                let name = self.snapshot(input);
                let checksum = input.maybe(|_| checksum(&name));
                Snapshot {
                    name,
                    checksum,
                    created: UnixMs(0),
                }
            }),
            used_bytes: input.maybe(Input::number),
        }
    }

    pub(super) fn status(&self, input: &mut Input<'_>) -> ServiceStatus {
        ServiceStatus {
            service: self.service(input),
            generation: self.generation(input),
            state: state(input),
        }
    }

    fn report(&self, input: &mut Input<'_>) -> TaskReport {
        let id = self.task(input);
        let result = match input.below(4) {
            0 => Ok(TaskOutcome::Done),
            1 => Ok(TaskOutcome::Prepared(prepared(input))),
            2 => Ok(TaskOutcome::Copied {
                volumes: input.some(|input| self.copied(input)),
            }),
            _ => Err(failure(input)),
        };
        TaskReport { id, result }
    }

    fn copied(&self, input: &mut Input<'_>) -> CopiedVolume {
        let snapshot = self.snapshot(input);
        CopiedVolume {
            volume: self.volume(input),
            checksum: checksum(&snapshot),
            snapshot,
            bytes: input.number(),
            wire_bytes: input.number(),
            full: input.one_in(2),
            milliseconds: input.number(),
        }
    }

    /// What no honest agent may ever have said.
    pub(super) fn anything(&self, input: &mut Input<'_>) -> AgentMessage {
        match input.below(8) {
            0 => AgentMessage::Service(self.status(input)),
            1 => AgentMessage::Progress {
                id: self.task(input),
                progress: TaskProgress {
                    bytes_done: input.number(),
                    bytes_total: input.maybe(Input::number),
                },
            },
            2 => AgentMessage::Task(self.report(input)),
            3 | 4 => AgentMessage::Volume(self.copy(input)),
            5 => AgentMessage::VolumeGone {
                volume: self.volume(input),
            },
            6 => AgentMessage::Pool(pool(input)),
            _ => AgentMessage::Log {
                request: input.number(),
                lines: input.some(|input| LogLine {
                    stream: LogStream::Stdout,
                    text: input.text(),
                }),
                end: input.maybe(|input| match input.one_in(2) {
                    true => Ok(()),
                    false => Err(failure(input)),
                }),
            },
        }
    }
}

/// The checksum that everybody finds who has received this snapshot.
pub(super) fn checksum(snapshot: &SnapshotName) -> Checksum {
    Checksum(format!("of-{snapshot}"))
}

pub(super) fn role(input: &mut Input<'_>) -> Role {
    match input.one_in(2) {
        true => Role::Holder,
        false => Role::Replica,
    }
}

pub(super) fn pool(input: &mut Input<'_>) -> PoolUsage {
    PoolUsage {
        size_bytes: input.number(),
        free_bytes: input.number(),
    }
}

pub(super) fn failure(input: &mut Input<'_>) -> Failure {
    Failure {
        message: input.text(),
        retry: match input.one_in(2) {
            true => Retry::Pointless,
            false => Retry::MayHelp,
        },
    }
}

pub(super) fn prepared(input: &mut Input<'_>) -> Prepared {
    Prepared {
        image_id: input.text(),
        exposed_ports: input.some(|input| u16::from(input.byte())),
        address: input.address(),
    }
}

/// What a container of ours looks like where nobody lies.
pub(super) fn true_prepared(node: usize) -> Prepared {
    Prepared {
        image_id: "sha256:1".to_owned(),
        exposed_ports: vec![80],
        address: Ipv4Addr::new(10, 213, 0, u8::try_from(node + 2).unwrap_or(9)),
    }
}

pub(super) fn state(input: &mut Input<'_>) -> ContainerState {
    match input.below(7) {
        0 => ContainerState::Absent,
        1 => ContainerState::Created,
        2 => ContainerState::Starting,
        3 => ContainerState::Running {
            prepared: prepared(input),
            start_ms: input.maybe(Input::number),
            since: UnixMs(input.number()),
        },
        4 => ContainerState::Unhealthy {
            message: input.text(),
        },
        5 => ContainerState::Stopped {
            exit_code: input.maybe(|input| i64::from(input.byte()) - 100),
            stop_ms: input.maybe(Input::number),
        },
        _ => ContainerState::Failed(failure(input)),
    }
}
