//! What must hold, watched while it happens. One file for each promise; this one tells each of them what
//! it has to know.
//!
//! The checkers see the truth of the model (every pool, engine and record), which no process in it
//! can. They change nothing. The first violation ends the run.

mod acknowledged;
mod commit_once;
mod data_outlives_control;
mod hold_is_comfort;
mod nothing_lost;
mod one_writer;
mod operations;
pub(crate) mod recovered;
mod removal_is_explicit;
mod stale_rejected;
mod start_after_confirm;
mod tokens;

use crate::node::Node;
use crate::store::Store;
use flocker_core::agent::{Job, Ledger};
use flocker_core::cluster::Change;
use flocker_core::control::{Control, Response};
use flocker_core::route::RouteTable;
use flocker_types::api::ApiError;
use flocker_types::ids::{Epoch, NodeId, ServiceId, SnapshotName, VolumeId};
use flocker_types::task::VolumeClaim;
use flocker_types::volume::VolumeLabel;
use std::collections::BTreeMap;

/// The nodes, as checkers see them.
pub(crate) type Nodes = BTreeMap<NodeId, Node>;
/// What a checker says.
pub(crate) type Verdict = Result<(), String>;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise: an invariant of the design, or one of the simulator's.
    pub checker: &'static str,
    /// When, in milliseconds.
    pub at_ms: u64,
    /// What was seen.
    pub message: String,
}

/// What containers have really written.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Every record of a volume that was not lost with a machine's power, in its order.
    pub(crate) records: BTreeMap<VolumeId, Vec<u64>>,
    /// Whose live copy is the present one.
    pub(crate) holder: BTreeMap<VolumeId, NodeId>,
    /// Records whose writers were told that they are safe.
    pub(crate) acked: BTreeMap<VolumeId, Vec<u64>>,
}

impl Truth {
    pub(crate) fn of(&self, volume: VolumeId) -> &[u64] {
        self.records.get(&volume).map_or(&[], Vec::as_slice)
    }
}

/// Every checker.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) violation: Option<Violation>,
    pub(crate) truth: Truth,
    commit_once: commit_once::CommitOnce,
    stale: stale_rejected::StaleRejected,
    hold: hold_is_comfort::HoldIsComfort,
    pub(crate) operations: operations::Operations,
    removal: removal_is_explicit::RemovalIsExplicit,
    pub(crate) counts: Counts,
}

/// What a run has seen, so that a sweep can show that runs are not idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records acknowledged.
    pub acked: u64,
    /// Containers started.
    pub starts: u64,
    /// Changes of holder.
    pub moves: u64,
    /// Operations that ended.
    pub operations: u64,
    /// Of those, failed.
    pub failed: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.starts += other.starts;
        self.moves += other.moves;
        self.operations += other.operations;
        self.failed += other.failed;
    }
}

impl Checks {
    pub(crate) fn note(&mut self, now_us: u64, checker: &'static str, verdict: Verdict) {
        if let Err(message) = verdict
            && self.violation.is_none()
        {
            self.violation = Some(Violation {
                checker,
                at_ms: now_us / 1_000,
                message,
            });
        }
    }

    pub(crate) fn control_died(&mut self, now: u64, core: &Control, store: &Store) {
        let verdict = data_outlives_control::memory_is_stored(core, store);
        self.note(now, "data-outlives-control", verdict);
    }

    pub(crate) fn control_ticks(&mut self, now: u64, count: u32) {
        self.note(now, "no busy loop", operations::rests("control", count));
    }

    pub(crate) fn agent_ticks(&mut self, now: u64, _: NodeId, count: u32) {
        self.note(now, "no busy loop", operations::rests("an agent", count));
    }

    pub(crate) fn before_commit(
        &mut self,
        now: u64,
        store: &Store,
        changes: &[Change],
        nodes: &Nodes,
    ) {
        let commits = self.commit_once.changes(store, changes, nodes, &self.truth);
        self.note(now, "commit-once", commits);
        let generations = stale_rejected::generations_are_kept(store, changes);
        self.note(now, "stale-rejected", generations);
        let removals = self.removal.changes(now, store, changes, &self.truth);
        self.note(now, "removal-is-explicit", removals);
        self.note(
            now,
            "a token is good for one node",
            tokens::changes(store, changes),
        );
        let holds = self.hold.changes(now, changes, nodes);
        self.note(now, "hold-is-comfort", holds);
        let operations = self
            .operations
            .changes(now, store, changes, &mut self.counts);
        self.note(now, "operations", operations);
    }

    pub(crate) fn committed(&mut self, now: u64, store: &Store, changes: &[Change]) {
        let verdict = operations::one_each(store, changes);
        self.note(now, "one operation on a service", verdict);
    }

    pub(crate) fn control_interrupted(&mut self) {
        self.hold.interrupted();
    }

    pub(crate) fn agent_died(&mut self, _: NodeId) {}

    pub(crate) fn proxy_died(&mut self, id: NodeId) {
        self.stale.proxy_died(id);
    }

    pub(crate) fn ledger_kept(&mut self, now: u64, id: NodeId, old: &Ledger, new: &Ledger) {
        self.note(now, "stale-rejected", stale_rejected::ledger(old, new));
        self.hold.ledger(id, old, new);
    }

    pub(crate) fn job_begun(&mut self, now: u64, node: &Node, job: &Job) {
        let confirmed = start_after_confirm::job(node, job);
        self.note(now, "start-after-confirm", confirmed);
        self.note(now, "one-writer", one_writer::job(node, job));
        self.note(
            now,
            "data-outlives-control",
            data_outlives_control::job(node, job),
        );
    }

    pub(crate) fn created(&mut self, _: u64, id: NodeId, label: &VolumeLabel) {
        self.truth.holder.insert(label.id, id);
    }

    pub(crate) fn promoted(
        &mut self,
        now: u64,
        id: NodeId,
        claim: &VolumeClaim,
        content: Option<&[u64]>,
        nodes: &Nodes,
    ) {
        self.counts.moves += 1;
        let volume = claim.label.id;
        let whole = nothing_lost::promoted(volume, content, &self.truth);
        self.note(now, "nothing-lost", whole);
        let alone = one_writer::promoted(id, claim, nodes);
        self.note(now, "one-writer", alone);
        self.truth.holder.insert(volume, id);
    }

    pub(crate) fn demoted(
        &mut self,
        now: u64,
        node: &Node,
        volume: VolumeId,
        held_in: Epoch,
        tail: Option<&[u64]>,
    ) {
        self.note(
            now,
            "nothing-lost",
            nothing_lost::demoted(volume, held_in, tail),
        );
        self.note(
            now,
            "one-writer",
            one_writer::unused(node, volume, "made a replica"),
        );
    }

    pub(crate) fn pruned(
        &mut self,
        now: u64,
        id: NodeId,
        volume: VolumeId,
        gone: &[SnapshotName],
        nodes: &Nodes,
        store: &Store,
    ) {
        let verdict = nothing_lost::pruned(id, volume, gone, nodes, store);
        self.note(now, "nothing-lost", verdict);
    }

    pub(crate) fn destroyed(&mut self, now: u64, id: NodeId, volume: VolumeId, nodes: &Nodes) {
        let asked = self.removal.destroyed(now, volume, &self.truth);
        self.note(now, "removal-is-explicit", asked);
        let unused = one_writer::unused(&nodes[&id], volume, "deleted");
        self.note(now, "removal-is-explicit", unused);
    }

    pub(crate) fn asked_removal(&mut self, now: u64, volume: VolumeId, grace_ms: u64) {
        self.removal.asked(now, volume, grace_ms);
    }

    pub(crate) fn admitted(
        &mut self,
        now: u64,
        node: &Node,
        from: NodeId,
        volume: VolumeId,
        epoch: Epoch,
        store: &Store,
    ) {
        let verdict = stale_rejected::admitted(node, from, volume, epoch, store);
        self.note(now, "stale-rejected", verdict);
    }

    pub(crate) fn replaced_connection(&mut self, now: u64, void: bool) {
        let message = "what came on a connection that was replaced changed something";
        let verdict = if void {
            Ok(())
        } else {
            Err(message.to_owned())
        };
        self.note(now, "stale-rejected", verdict);
    }

    pub(crate) fn received(&mut self, now: u64, node: &Node, volume: VolumeId) {
        let verdict = self.stale.epoch(node, volume);
        self.note(now, "stale-rejected", verdict);
    }

    pub(crate) fn routes_are(&mut self, now: u64, id: NodeId, table: &RouteTable) {
        let verdict = self.stale.routes(id, table);
        self.note(now, "stale-rejected", verdict);
    }

    pub(crate) fn wrong_service(
        &mut self,
        now: u64,
        id: NodeId,
        wanted: &ServiceId,
        reached: &ServiceId,
    ) {
        let message = format!("a client of {wanted} was led to {reached} on {id}");
        self.note(now, "routes lead to their services", Err(message));
    }

    pub(crate) fn reads(&mut self, now: u64, node: &Node, service: &ServiceId) {
        let verdict = acknowledged::reads(node, service, &self.truth);
        self.note(now, "every acknowledged record is there", verdict);
    }

    pub(crate) fn wrote(&mut self, now: u64, id: NodeId, volume: VolumeId, record: u64) {
        let verdict = one_writer::wrote(id, volume, &self.truth);
        self.note(now, "one-writer", verdict);
        self.truth.records.entry(volume).or_default().push(record);
    }

    pub(crate) fn acked(&mut self, _: u64, volume: VolumeId, record: u64) {
        self.counts.acked += 1;
        self.truth.acked.entry(volume).or_default().push(record);
    }

    pub(crate) fn lost_unsynced(&mut self, id: NodeId, volume: VolumeId, kept: usize, _: &Node) {
        if self.truth.holder.get(&volume) == Some(&id)
            && let Some(records) = self.truth.records.get_mut(&volume)
        {
            records.truncate(kept);
        }
    }

    pub(crate) fn container_started(
        &mut self,
        now: u64,
        id: NodeId,
        service: &ServiceId,
        nodes: &Nodes,
        store: &Store,
    ) {
        self.counts.starts += 1;
        let alone = one_writer::started(id, service, nodes);
        self.note(now, "one-writer", alone);
        let held = start_after_confirm::started(&nodes[&id], service, store);
        self.note(now, "start-after-confirm", held);
        let whole = nothing_lost::started(&nodes[&id], service, &self.truth);
        self.note(now, "nothing-lost", whole);
        let acked = acknowledged::reads(&nodes[&id], service, &self.truth);
        self.note(now, "every acknowledged record is there", acked);
    }

    pub(crate) fn listens(&mut self, id: NodeId, service: &ServiceId) {
        self.hold.listens(id, service);
    }

    pub(crate) fn container_ended(&mut self, _: u64, _: NodeId, _: &ServiceId) {}

    pub(crate) fn answered(&mut self, _: &Result<Response, ApiError>) {}
}
