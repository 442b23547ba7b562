//! The receiving side of a stream, as `crates/agent/src/streams/incoming.rs` has it: admission by the
//! core, the volume's lock, the bytes, their checksum, and only then a snapshot.

use crate::agent_process::AgentInput;
use crate::event::{Life, What};
use crate::network::Host;
use crate::pool::{Content, checksum, passing};
use crate::world::World;
use flocker_core::agent::Event;
use flocker_types::ids::{Epoch, NodeId, SnapshotName, VolumeId};
use flocker_types::task::Failure;
use flocker_types::volume::{Checksum, VolumeLabel};

/// A sender may be silent this long, in microseconds.
const STALL_US: u64 = 30_000_000;

/// What a sender offers.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) source: NodeId,
    pub(crate) source_life: Life,
    pub(crate) volume: VolumeId,
    pub(crate) epoch: Epoch,
    pub(crate) from: Option<SnapshotName>,
    pub(crate) to: SnapshotName,
    pub(crate) base: Option<Content>,
    pub(crate) content: Content,
    /// So long it takes when nothing comes in between.
    pub(crate) takes_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Waiting,
    Receiving,
    Finishing,
    Replied,
}

/// A stream that is being received.
#[derive(Debug)]
pub(crate) struct Reception {
    offer: Offer,
    stage: Stage,
    label: Option<VolumeLabel>,
    /// The sender's end is open.
    pub(crate) open: bool,
    locked: bool,
    /// The snapshot is here already; the bytes are read and dropped.
    known: bool,
    remaining_us: u64,
    /// The connection is reset when only so much remains.
    reset_at_us: Option<u64>,
    damaged: bool,
    looked_us: u64,
    moved_us: u64,
    reply: Option<Result<Checksum, Failure>>,
}

impl Reception {
    /// Whether bytes move.
    pub(crate) fn moves(&self) -> bool {
        matches!(self.stage, Stage::Receiving)
    }

    /// The receiver's last word, once.
    pub(crate) fn take_reply(&mut self) -> Option<Result<Checksum, Failure>> {
        self.reply.take()
    }

    /// Whether the process that received it was just about to make it a snapshot.
    pub(crate) fn nearly_done(&self) -> bool {
        self.stage == Stage::Finishing
    }
}

impl World {
    /// A sender has connected and offers a snapshot.
    pub(crate) fn receive(&mut self, id: NodeId, offer: Offer) -> Option<u64> {
        let now = self.now_us;
        self.next_number += 1;
        let number = self.next_number;
        let node = self.nodes.get_mut(&id)?;
        node.agent.core.as_ref()?;
        let cut = node.streams_to_cut > 0;
        node.streams_to_cut -= u32::from(cut);
        let damaged = node.streams_to_damage > 0;
        node.streams_to_damage -= u32::from(damaged);
        let (source, volume, epoch) = (offer.source, offer.volume, offer.epoch);
        let takes_us = offer.takes_us;
        let reset_at_us = cut.then(|| node.rng.below(takes_us));
        let reception = Reception {
            offer,
            stage: Stage::Asking,
            label: None,
            open: true,
            locked: false,
            known: false,
            remaining_us: takes_us,
            reset_at_us,
            damaged,
            looked_us: now,
            moved_us: now,
            reply: None,
        };
        node.echoes.hear_offer(&reception.offer);
        node.agent.receptions.insert(number, reception);
        let life = node.agent.life;
        let input = AgentInput::Incoming {
            reception: number,
            from: source,
            volume,
            epoch,
        };
        let delay = self.network.delay_us(Host::Node(source), Host::Node(id));
        self.after(delay, What::AgentTold(id, life, Box::new(input)));
        Some(number)
    }

    /// The core has said whether it may.
    pub(crate) fn reception_admitted(
        &mut self,
        id: NodeId,
        number: u64,
        answer: Result<VolumeLabel, Failure>,
    ) {
        let now = self.now_us;
        let life = self.nodes[&id].agent.life;
        let Some(reception) = self.node_mut(id).agent.receptions.get_mut(&number) else {
            return;
        };
        let (source, volume, epoch) = (
            reception.offer.source,
            reception.offer.volume,
            reception.offer.epoch,
        );
        match answer {
            Err(failure) => {
                reception.reply = Some(Err(failure));
                reception.stage = Stage::Replied;
            }
            Ok(label) => {
                reception.label = Some(label);
                reception.stage = Stage::Waiting;
                self.checks.admitted(
                    now,
                    &self.nodes[&id],
                    source,
                    volume,
                    epoch,
                    &self.control.store,
                );
                self.after(500, What::Reception(id, life, number));
            }
        }
    }

    /// A reception goes on.
    pub(crate) fn reception_step(&mut self, id: NodeId, life: Life, number: u64) {
        let node = self.node_mut(id);
        if node.agent.life != life {
            return;
        }
        let Some(mut reception) = node.agent.receptions.remove(&number) else {
            return;
        };
        let wait = match reception.stage {
            Stage::Asking | Stage::Replied => None,
            Stage::Waiting => self.begin_reception(id, &mut reception),
            Stage::Receiving => self.take_bytes(id, &mut reception),
            Stage::Finishing => {
                self.finish_reception(id, &mut reception);
                None
            }
        };
        let gone = !reception.open && matches!(reception.stage, Stage::Replied);
        if !gone {
            self.node_mut(id).agent.receptions.insert(number, reception);
        }
        if let Some(wait) = wait {
            self.after(wait, What::Reception(id, life, number));
        }
    }

    fn begin_reception(&mut self, id: NodeId, reception: &mut Reception) -> Option<u64> {
        if !reception.open {
            reception.stage = Stage::Replied;
            return None;
        }
        let now = self.now_us;
        let node = self.node_mut(id);
        if !node.pool.lock(reception.offer.volume) {
            return Some(20_000);
        }
        reception.locked = true;
        let Some(label) = reception.label.clone() else {
            return self.end_reception(id, reception, Err(passing("no label")));
        };
        let (from, to) = (reception.offer.from.clone(), reception.offer.to.clone());
        let node = self.node_mut(id);
        match node.pool.start_receiving(&label, from.as_ref(), &to) {
            Err(failure) => self.end_reception(id, reception, Err(failure)),
            Ok(fresh) => {
                reception.known = !fresh;
                reception.stage = Stage::Receiving;
                reception.looked_us = now;
                reception.moved_us = now;
                Some(1_000)
            }
        }
    }

    fn take_bytes(&mut self, id: NodeId, reception: &mut Reception) -> Option<u64> {
        let now = self.now_us;
        let source = reception.offer.source;
        let cut = self
            .network
            .is_cut_either_way(Host::Node(source), Host::Node(id));
        let there = &self.nodes[&source];
        let alive = there.powered && there.agent.life == reception.offer.source_life;
        let stands = there.agent.pause.stands();
        let elapsed = now - reception.looked_us;
        reception.looked_us = now;
        if !cut && (!alive || !reception.open) && there.powered {
            let short = passing("the stream is damaged: it ends too early");
            return self.end_reception(id, reception, Err(short));
        }
        if cut || !alive || stands {
            if now - reception.moved_us >= STALL_US {
                let silent = passing("the sender was silent for too long");
                return self.end_reception(id, reception, Err(silent));
            }
            return Some(40_000);
        }
        reception.moved_us = now;
        reception.remaining_us = reception.remaining_us.saturating_sub(elapsed);
        if reception
            .reset_at_us
            .is_some_and(|at| reception.remaining_us <= at)
        {
            let reset = passing("the connection was reset");
            return self.end_reception(id, reception, Err(reset));
        }
        if reception.remaining_us > 0 {
            return Some(reception.remaining_us.min(40_000));
        }
        if reception.damaged {
            let bad = passing("the stream is damaged: its checksum is another");
            return self.end_reception(id, reception, Err(bad));
        }
        reception.stage = Stage::Finishing;
        Some(self.node_mut(id).disk_us(1_000, 15_000))
    }

    fn end_reception(
        &mut self,
        id: NodeId,
        reception: &mut Reception,
        reply: Result<Checksum, Failure>,
    ) -> Option<u64> {
        if std::mem::take(&mut reception.locked) {
            self.node_mut(id).pool.unlock(reception.offer.volume);
        }
        reception.stage = Stage::Replied;
        reception.reply = Some(reply);
        None
    }

    fn accept(&mut self, id: NodeId, reception: &Reception) -> Result<Checksum, Failure> {
        let offer = &reception.offer;
        let base = offer.base.as_deref().map(Vec::as_slice);
        let sum = checksum(base, &offer.content);
        if !reception.known
            && let Some(label) = &reception.label
        {
            let (content, sum) = (Content::clone(&offer.content), sum.clone());
            let node = self.node_mut(id);
            node.pool.finish_receiving(label, &offer.to, content, sum)?;
            let now = self.now_us;
            self.checks.received(now, &self.nodes[&id], offer.volume);
        }
        Ok(sum)
    }

    fn finish_reception(&mut self, id: NodeId, reception: &mut Reception) {
        let result = self.accept(id, reception);
        if result.is_ok() {
            let volume = reception.offer.volume;
            if let Some(stored) = self.nodes[&id].pool.volumes.get(&volume) {
                let event = Event::Volume(stored.copy());
                let life = self.nodes[&id].agent.life;
                let wait = self.node_mut(id).rng.between(20, 3_000);
                let input = Box::new(AgentInput::Event(event));
                self.after(wait, What::AgentTold(id, life, input));
            }
        }
        self.end_reception(id, reception, result);
    }

    /// The receiving process has died: what was about to become a snapshot has, or has not.
    pub(crate) fn interrupt_receptions(&mut self, id: NodeId) {
        let receptions = std::mem::take(&mut self.node_mut(id).agent.receptions);
        for reception in receptions.into_values() {
            if reception.nearly_done() && self.node_mut(id).rng.chance(500) {
                drop(self.accept(id, &reception));
            }
        }
    }
}
