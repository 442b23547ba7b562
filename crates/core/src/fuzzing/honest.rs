//! What honest nodes do with what control tells them: tasks and directives, done as they should be, or
//! failing now and then.

use super::control::{NODES, World};
use super::input::Input;
use super::said::{self, checksum, node_id};
use flocker_types::ids::NodeId;
use flocker_types::link::AgentMessage;
use flocker_types::task::{
    ContainerState, CopiedVolume, CopyVolume, Peer, ServiceStatus, TaskOutcome, TaskReport, Want,
    Work,
};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Role, Snapshot, VolumeCopy};

impl World {
    /// The oldest task, or another one, is done as it should be, or fails.
    pub(super) fn do_task(&mut self, input: &mut Input<'_>) {
        let index = input.below(8).min(self.tasks.len().saturating_sub(1));
        let Some((node, task)) = self.tasks.remove(index) else {
            return;
        };
        let result = match input.below(8) {
            7 => Err(said::failure(input)),
            _ => Ok(self.done(node, &task.work)),
        };
        let id = task.id;
        self.agent_says(node, AgentMessage::Task(TaskReport { id, result }));
    }

    fn done(&mut self, node: NodeId, work: &Work) -> TaskOutcome {
        match work {
            Work::CreateVolume { label } => {
                let copy = VolumeCopy {
                    label: label.clone(),
                    role: Role::Holder,
                    snapshots: Vec::new(),
                    used_bytes: Some(4096),
                };
                self.copy_is(node, copy);
            }
            Work::Prepare { .. } => {
                let number = (1..=NODES).find(|number| node_id(*number) == node);
                return TaskOutcome::Prepared(said::true_prepared(number.unwrap_or(0)));
            }
            Work::Copy { volumes, target } => {
                let copied = volumes.iter().map(|copy| self.copied(node, copy, target));
                let volumes = copied.collect();
                return TaskOutcome::Copied { volumes };
            }
            Work::Demote { volume, epoch, .. } => {
                if let Some(mut copy) = self.copies.get(&(node, *volume)).cloned() {
                    copy.role = Role::Replica;
                    copy.label.epoch = *epoch;
                    self.copy_is(node, copy);
                }
            }
            Work::Prune { volume, delete } => {
                if let Some(mut copy) = self.copies.get(&(node, *volume)).cloned() {
                    copy.snapshots.retain(|one| !delete.contains(&one.name));
                    self.copy_is(node, copy);
                }
            }
            Work::Destroy { volume, .. } => {
                self.copies.remove(&(node, *volume));
                let volume = *volume;
                self.agent_says(node, AgentMessage::VolumeGone { volume });
            }
        }
        TaskOutcome::Done
    }

    fn copied(&mut self, node: NodeId, copy: &CopyVolume, target: &Peer) -> CopiedVolume {
        let taken = |checksum| Snapshot {
            name: copy.snapshot.clone(),
            checksum,
            created: UnixMs(0),
        };
        if let Some(mut here) = self.copies.get(&(node, copy.volume)).cloned() {
            let mut there = here.clone();
            here.snapshots.push(taken(None));
            self.copy_is(node, here);
            there.role = Role::Replica;
            there.snapshots.push(taken(Some(checksum(&copy.snapshot))));
            self.copy_is(target.node, there);
        }
        CopiedVolume {
            volume: copy.volume,
            snapshot: copy.snapshot.clone(),
            checksum: checksum(&copy.snapshot),
            bytes: 1 << 20,
            wire_bytes: 1 << 20,
            full: false,
            milliseconds: 20,
        }
    }

    fn copy_is(&mut self, node: NodeId, copy: VolumeCopy) {
        self.copies.insert((node, copy.label.id), copy.clone());
        self.agent_says(node, AgentMessage::Volume(copy));
    }

    pub(super) fn follow_directive(&mut self, input: &mut Input<'_>) {
        let Some((node, directive)) = self.directives.pop_front() else {
            return;
        };
        let state = match &directive.want {
            Want::Run { volumes, .. } => {
                for claim in volumes {
                    if let Some(mut copy) = self.copies.get(&(node, claim.label.id)).cloned() {
                        copy.label = claim.label.clone();
                        copy.role = Role::Holder;
                        self.copy_is(node, copy);
                    }
                }
                let number = (1..=NODES).find(|number| node_id(*number) == node);
                ContainerState::Running {
                    prepared: said::true_prepared(number.unwrap_or(0)),
                    start_ms: Some(5),
                    since: UnixMs(self.clock_ms),
                }
            }
            Want::Stopped => ContainerState::Stopped {
                exit_code: Some(0),
                stop_ms: Some(5),
            },
            Want::Absent => ContainerState::Absent,
        };
        let state = if input.one_in(8) {
            said::state(input)
        } else {
            state
        };
        let status = ServiceStatus {
            service: directive.service,
            generation: directive.generation,
            state,
        };
        self.agent_says(node, AgentMessage::Service(status));
    }
}
