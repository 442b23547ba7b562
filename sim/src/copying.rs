//! The sending side of a copy, as `crates/agent/src/jobs/copy.rs` does it: snapshots, then for each
//! volume a question, and a stream for each link of the chain from what the target has.

use crate::agent_process::AgentInput;
use crate::event::What;
use crate::jobs::{Running, Step};
use crate::network::{CONNECT_US_MAX, Host};
use crate::pool::passing;
use crate::reception::Offer;
use crate::world::World;
use flocker_core::agent::{Event, Job, JobOutcome};
use flocker_types::ids::{NodeId, SnapshotName, VolumeId};
use flocker_types::task::{CopiedVolume, CopyVolume, Failure, TaskOutcome};
use flocker_types::volume::Checksum;
use std::collections::VecDeque;

/// Where a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyStage {
    Snapshot,
    SnapshotOnDisk,
    Connect,
    Ask,
    Offer,
    Streaming,
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct CopyState {
    stage: CopyStage,
    index: usize,
    chain: VecDeque<(Option<SnapshotName>, SnapshotName)>,
    full: bool,
    bytes: u64,
    began_us: u64,
    /// It gives up then, unless something moves.
    give_up_us: u64,
    reception: Option<(NodeId, u64)>,
    done: Vec<CopiedVolume>,
}

impl CopyState {
    pub(crate) fn new(now_us: u64) -> Self {
        Self {
            stage: CopyStage::Snapshot,
            index: 0,
            chain: VecDeque::new(),
            full: false,
            bytes: 0,
            began_us: now_us,
            give_up_us: 0,
            reception: None,
            done: Vec::new(),
        }
    }
}

fn failed(failure: Failure) -> Step {
    Step::Done(Err(failure))
}

impl World {
    pub(crate) fn copy_step(
        &mut self,
        id: NodeId,
        running: &mut Running,
        volumes: &[CopyVolume],
        target: NodeId,
        stall_limit_ms: u64,
    ) -> Step {
        let stall_us = stall_limit_ms.saturating_mul(1_000);
        let Some(volume) = volumes.get(running.copy.index) else {
            let volumes = std::mem::take(&mut running.copy.done);
            let outcome = JobOutcome::Task(TaskOutcome::Copied { volumes });
            return Step::Done(Ok(outcome));
        };
        match running.copy.stage {
            CopyStage::Snapshot => match self.lock(id, running, volume.volume) {
                None => Step::Wait(20_000),
                Some(wait) => {
                    running.copy.stage = CopyStage::SnapshotOnDisk;
                    Step::Wait(wait)
                }
            },
            CopyStage::SnapshotOnDisk => {
                let taken = self
                    .node_mut(id)
                    .pool
                    .snapshot(volume.volume, &volume.snapshot);
                self.unlock(id, running);
                if let Err(failure) = taken {
                    return failed(failure);
                }
                running.copy.index += 1;
                running.copy.stage = CopyStage::Snapshot;
                if running.copy.index == volumes.len() {
                    running.copy.index = 0;
                    running.copy.stage = CopyStage::Connect;
                    running.copy.give_up_us = self.now_us + CONNECT_US_MAX;
                    running.copy.began_us = self.now_us;
                }
                Step::Wait(100)
            }
            CopyStage::Connect => self.connect_peer(id, running, target, stall_us),
            CopyStage::Ask => self.ask_peer(id, running, volume, target),
            CopyStage::Offer => self.offer(id, running, volume, target, stall_us),
            CopyStage::Streaming => self.streaming(id, running, volume, target, stall_us),
        }
    }

    fn reaches(&self, id: NodeId, target: NodeId) -> bool {
        let cut = self
            .network
            .is_cut_either_way(Host::Node(id), Host::Node(target));
        let there = self.nodes.get(&target);
        !cut && there.is_some_and(|node| node.powered && !node.agent.pause.stands())
    }

    fn connect_peer(
        &mut self,
        id: NodeId,
        running: &mut Running,
        target: NodeId,
        stall_us: u64,
    ) -> Step {
        if !self.reaches(id, target) {
            if self.now_us >= running.copy.give_up_us {
                return failed(passing("the other agent does not answer"));
            }
            return Step::Wait(100_000);
        }
        if self.nodes[&target].agent.core.is_none() {
            return failed(passing("connection refused"));
        }
        running.copy.stage = if running.copy.chain.is_empty() {
            CopyStage::Ask
        } else {
            CopyStage::Offer
        };
        running.copy.give_up_us = self.now_us + stall_us;
        let trips: u64 = (0..4)
            .map(|_| self.network.delay_us(Host::Node(id), Host::Node(target)))
            .sum();
        Step::Wait(trips)
    }

    fn ask_peer(
        &mut self,
        id: NodeId,
        running: &mut Running,
        volume: &CopyVolume,
        target: NodeId,
    ) -> Step {
        if !self.reaches(id, target) {
            if self.now_us >= running.copy.give_up_us {
                return failed(passing("the other agent was silent for too long"));
            }
            return Step::Wait(50_000);
        }
        let there = self.nodes[&target].pool.volumes.get(&volume.volume);
        let there: Vec<SnapshotName> = there.map_or_else(Vec::new, |stored| {
            let names = stored.snapshots.iter();
            names.map(|snapshot| snapshot.name.clone()).collect()
        });
        if there.contains(&volume.snapshot) {
            return failed(passing(
                "the target has this snapshot from an attempt whose end was lost",
            ));
        }
        let own: Vec<SnapshotName> = match self.node_mut(id).pool.existing(volume.volume) {
            Ok(stored) => stored.snapshots.iter().map(|s| s.name.clone()).collect(),
            Err(failure) => return failed(failure),
        };
        let (chain, full) = chain(&own, &there, volume);
        running.copy.chain = chain;
        running.copy.full = full;
        running.copy.bytes = 0;
        running.copy.stage = CopyStage::Offer;
        Step::Wait(self.network.delay_us(Host::Node(target), Host::Node(id)))
    }

    fn offer(
        &mut self,
        id: NodeId,
        running: &mut Running,
        volume: &CopyVolume,
        target: NodeId,
        stall_us: u64,
    ) -> Step {
        let Some((from, to)) = running.copy.chain.front().cloned() else {
            return failed(passing("there was nothing to send"));
        };
        let node = self.node_mut(id);
        let opened = node.pool.open_snapshots(volume.volume, from.as_ref(), &to);
        let (base, content) = match opened {
            Ok(opened) => opened,
            Err(failure) => return failed(failure),
        };
        let life = node.agent.life;
        let fresh = content.len()
            - base
                .as_ref()
                .map_or(0, |base| base.len().min(content.len()));
        let bytes = 65_536 + u64::try_from(fresh).unwrap_or(0) * 16_384;
        running.copy.bytes += if from.is_none() {
            bytes + (64 << 20)
        } else {
            bytes
        };
        let slow = if from.is_none() { 1_500_000 } else { 60_000 };
        let takes_us = self.node_mut(id).rng.between(5_000, slow);
        let offer = Offer {
            source: id,
            source_life: life,
            volume: volume.volume,
            epoch: volume.epoch,
            from,
            to,
            base,
            content,
            takes_us,
        };
        running.copy.reception = self.receive(target, offer).map(|number| (target, number));
        running.copy.stage = CopyStage::Streaming;
        running.copy.give_up_us = self.now_us + stall_us;
        Step::Wait(1_000)
    }

    fn streaming(
        &mut self,
        id: NodeId,
        running: &mut Running,
        volume: &CopyVolume,
        target: NodeId,
        stall_us: u64,
    ) -> Step {
        let now = self.now_us;
        let wait = self.node_mut(id).rng.between(2_000, 20_000);
        if !self.reaches(id, target) {
            if now >= running.copy.give_up_us {
                self.close_transfer(running);
                return failed(passing("nothing moved for too long"));
            }
            return Step::Wait(wait * 4);
        }
        let reception = running.copy.reception.and_then(|(node, number)| {
            self.nodes.get_mut(&node)?.agent.receptions.get_mut(&number)
        });
        let Some(reception) = reception else {
            return failed(passing("the connection was reset"));
        };
        if reception.moves() {
            running.copy.give_up_us = now + stall_us;
        }
        let Some(reply) = reception.take_reply() else {
            if now >= running.copy.give_up_us {
                self.close_transfer(running);
                return failed(passing("nothing moved for too long"));
            }
            return Step::Wait(wait);
        };
        if let Some((node, number)) = running.copy.reception.take() {
            self.node_mut(node).agent.receptions.remove(&number);
        }
        match reply {
            Err(failure) => failed(failure),
            Ok(checksum) => {
                running.copy.chain.pop_front();
                self.sent(running, volume, checksum)
            }
        }
    }

    /// One stream has arrived.
    fn sent(&mut self, running: &mut Running, volume: &CopyVolume, checksum: Checksum) -> Step {
        let now = self.now_us;
        let copy = &mut running.copy;
        copy.stage = CopyStage::Connect;
        copy.give_up_us = now + CONNECT_US_MAX;
        if copy.chain.is_empty() {
            copy.done.push(CopiedVolume {
                volume: volume.volume,
                snapshot: volume.snapshot.clone(),
                checksum,
                bytes: copy.bytes,
                wire_bytes: copy.bytes / 2,
                full: copy.full,
                milliseconds: (now - copy.began_us) / 1_000,
            });
            copy.index += 1;
            copy.began_us = now;
        }
        Step::Wait(100)
    }

    /// A copy that did not succeed leaves the snapshots that it took, and a start what it claimed; the
    /// core hears of them before it hears of the end.
    pub(crate) fn tell_what_is_left(&mut self, id: NodeId, work: &Job, wait_us: u64) {
        let touched: Vec<VolumeId> = match work {
            Job::Copy { volumes, .. } => volumes.iter().map(|sent| sent.volume).collect(),
            Job::Run { volumes, .. } => volumes.iter().map(|claim| claim.label.id).collect(),
            _ => return,
        };
        let life = self.nodes[&id].agent.life;
        for volume in touched {
            if let Some(stored) = self.nodes[&id].pool.volumes.get(&volume) {
                let input = Box::new(AgentInput::Event(Event::Volume(stored.copy())));
                self.after(wait_us, What::AgentTold(id, life, input));
            }
        }
    }

    /// A snapshot that the pool was taking when its job was given up is there.
    pub(crate) fn finish_snapshot(&mut self, id: NodeId, running: &Running) {
        if let (CopyStage::SnapshotOnDisk, Job::Copy { volumes, .. }) =
            (running.copy.stage, &running.work)
            && let Some(sent) = volumes.get(running.copy.index)
        {
            let pool = &mut self.node_mut(id).pool;
            drop(pool.snapshot(sent.volume, &sent.snapshot));
        }
    }

    /// The sender has closed its connection.
    pub(crate) fn close_transfer(&mut self, running: &Running) {
        let Some((target, number)) = running.copy.reception else {
            return;
        };
        let Some(node) = self.nodes.get_mut(&target) else {
            return;
        };
        if let Some(reception) = node.agent.receptions.get_mut(&number) {
            reception.open = false;
            let life = node.agent.life;
            self.after(1_000, What::Reception(target, life, number));
        }
    }
}

/// Begins at the newest snapshot that both have; on the way come the bases that the target lacks and
/// that are newer than that.
fn chain(
    own: &[SnapshotName],
    there: &[SnapshotName],
    volume: &CopyVolume,
) -> (VecDeque<(Option<SnapshotName>, SnapshotName)>, bool) {
    let common = own.iter().rposition(|name| there.contains(name));
    let later = own.iter().skip(common.map_or(0, |index| index + 1));
    let stops = later.filter(|name| volume.bases.contains(name) && **name != volume.snapshot);
    let mut from = common.map(|index| own[index].clone());
    let mut steps = VecDeque::new();
    for to in stops.chain([&volume.snapshot]) {
        steps.push_back((from.replace(to.clone()), to.clone()));
    }
    (steps, common.is_none())
}
