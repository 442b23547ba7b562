//! Copy while the service runs: snapshot, send, again, until the last delta will be short enough.

use super::pace::{self, Pace};
use super::prepare::peer;
use super::{Drive, assign, await_task, facts, needs_node};
use crate::cluster::CopyRecord;
use crate::control::{Control, newest_common};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{NodeId, OperationId, SnapshotName, VolumeId};
use flocker_types::operation::{Phase, Round};
use flocker_types::task::{CopiedVolume, CopyVolume, Failure, Retry, Work};
use flocker_types::volume::Role;

pub(super) fn copy(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let source = facts.source.expect("a copy has a source");
    if let Some(node) = facts.task {
        return await_task(control, id, node, "a round of copying".to_owned());
    }
    let operation = &control.state.operations[&id].operation;
    let service = &control.state.services[&facts.service];
    let pace = pace::decide(
        &operation.rounds,
        &service.learned,
        operation.spec.pause_budget_ms,
    );
    match pace {
        Pace::Enough(prediction) => {
            set_prediction(control, id, prediction);
            Drive::Next
        }
        Pace::TooSlow(prediction) => {
            let text = format!(
                "the delta of {} does not shrink any more: a pause of {} ms is expected, the \
                 budget is {} ms; going on",
                facts.service,
                prediction.pause_ms(),
                operation.spec.pause_budget_ms
            );
            control.publish(text, Some(&facts.service), Some(source), Some(id));
            set_prediction(control, id, prediction);
            Drive::Next
        }
        Pace::Again => send_round(control, id, control.limits.copy_stall_ms)
            .unwrap_or_else(|| await_task(control, id, source, "a round of copying".to_owned())),
    }
}

fn set_prediction(
    control: &mut Control,
    id: OperationId,
    prediction: flocker_types::operation::Prediction,
) {
    if let Some(record) = control.state.operation_mut(id) {
        record.operation.predicted = Some(prediction);
    }
}

/// The final snapshot, after the stop.
pub(super) fn send_last_delta(control: &mut Control, id: OperationId) -> Option<Drive> {
    send_round(control, id, control.limits.last_delta_stall_ms)
}

/// Gives the source a new round to do. `Some` if that cannot be now.
fn send_round(control: &mut Control, id: OperationId, stall_limit_ms: u64) -> Option<Drive> {
    let facts = facts(control, id);
    let (source, target) = (facts.source?, facts.target?);
    for node in [source, target] {
        if let Some(blocked) = needs_node(control, id, node) {
            return Some(blocked);
        }
    }
    let Some(target_peer) = peer(control, target) else {
        let message = format!(
            "{} has not said where it is reached",
            control.node_name(target)
        );
        return Some(Drive::Failed(Failure {
            message,
            retry: Retry::MayHelp,
        }));
    };
    let ids = control.state.operations[&id].copied_volumes();
    let volumes = ids
        .into_iter()
        .filter_map(|volume| {
            let bases = bases(control, volume, source, target);
            let snapshot = next_snapshot(control, id, volume)?;
            let epoch = control.state.volumes.get(&volume)?.epoch;
            Some(CopyVolume {
                volume,
                epoch,
                snapshot,
                bases,
            })
        })
        .collect();
    let now = control.now.monotonic;
    if let Some(live) = control.live.get_mut(&id) {
        live.round_since = Some(now);
    }
    if let Some(record) = control.state.operation_mut(id) {
        record.copied.clear();
        record.copied_in_phase = None;
    }
    assign(
        control,
        id,
        source,
        Work::Copy {
            volumes,
            target: target_peer,
        },
        stall_limit_ms,
    );
    None
}

/// A name that no snapshot of the volume has had.
fn next_snapshot(control: &mut Control, id: OperationId, volume: VolumeId) -> Option<SnapshotName> {
    let record = control.state.volume_mut(volume)?;
    record.snapshot_sequence += u64::from(!planted(Mutant::SnapshotNameReused));
    let name = format!(
        "e{}-s{}-{}",
        record.epoch,
        record.snapshot_sequence,
        id.short()
    );
    SnapshotName::new(name).ok()
}

/// Snapshots that link the source to other replicas and that the target lacks: sent on the way, so
/// that the target can later send a delta to those replicas.
fn bases(control: &Control, volume: VolumeId, source: NodeId, target: NodeId) -> Vec<SnapshotName> {
    let Some(record) = control.state.volumes.get(&volume) else {
        return Vec::new();
    };
    let Some(of_source) = record.copies.get(&source) else {
        return Vec::new();
    };
    let on_target = |name: &SnapshotName| {
        record
            .copies
            .get(&target)
            .is_some_and(|copy| copy.snapshots.contains(name))
    };
    let wanted: Vec<&SnapshotName> = record
        .copies
        .iter()
        .filter(|(node, _)| **node != source && **node != target)
        .filter_map(|(_, other)| newest_common(of_source, other))
        .collect();
    let in_order = of_source.snapshots.iter();
    in_order
        .filter(|name| wanted.contains(name) && !on_target(name))
        .cloned()
        .collect()
}

/// A round is over.
pub(super) fn round_ended(control: &mut Control, id: OperationId, volumes: &[CopiedVolume]) {
    let now = control.now.monotonic;
    let since = control
        .live
        .get_mut(&id)
        .and_then(|live| live.round_since.take());
    let learned = control.state.operations.get(&id).and_then(|record| {
        control
            .state
            .services
            .get(&record.operation.service)
            .map(|service| service.learned)
    });
    target_has(control, id, volumes);
    let Some(record) = control.state.operation_mut(id) else {
        return;
    };
    let milliseconds = since.map_or_else(
        || volumes.iter().map(|volume| volume.milliseconds).sum(),
        |since| now.since_ms(since),
    );
    record.copied = volumes.to_vec();
    record.copied_in_phase = Some(record.operation.phase);
    let mut round = Round {
        bytes: volumes.iter().map(|volume| volume.bytes).sum(),
        wire_bytes: volumes.iter().map(|volume| volume.wire_bytes).sum(),
        milliseconds,
        full: volumes.iter().any(|volume| volume.full),
        predicted_pause_ms: 0,
    };
    record.operation.rounds.push(round.clone());
    let prediction = pace::predict(&record.operation.rounds, &learned.unwrap_or_default());
    round.predicted_pause_ms = prediction.pause_ms();
    if let Some(last) = record.operation.rounds.last_mut() {
        *last = round.clone();
    }
    let in_copy = record.operation.phase == Phase::Copy;
    let (service, number) = (
        record.operation.service.clone(),
        record.operation.rounds.len(),
    );
    learn_rate(control, &service, &round, in_copy);
    if in_copy {
        let text = format!(
            "{service}: round {number}, {} KiB in {milliseconds} ms, expected pause {} ms",
            round.bytes.div_ceil(1024),
            round.predicted_pause_ms
        );
        control.publish(text, Some(&service), None, Some(id));
    }
}

/// The target has confirmed to the source what was sent. When its own word does not come, because it
/// is cut off from here, the snapshot from which the next delta starts is known all the same and stays.
fn target_has(control: &mut Control, id: OperationId, volumes: &[CopiedVolume]) {
    let Some(record) = control.state.operations.get(&id) else {
        return;
    };
    let Some(target) = record.operation.target else {
        return;
    };
    let ours = record.copied_volumes();
    for sent in volumes.iter().filter(|sent| ours.contains(&sent.volume)) {
        let Some(volume) = control.state.volume_mut(sent.volume) else {
            continue;
        };
        let epoch = volume.epoch;
        let copy = volume.copies.entry(target).or_insert_with(|| CopyRecord {
            role: Role::Replica,
            epoch,
            snapshots: Vec::new(),
            used_bytes: None,
        });
        if !copy.snapshots.contains(&sent.snapshot) {
            copy.snapshots.push(sent.snapshot.clone());
            let awaited = control.confirmed.entry((sent.volume, target));
            awaited.or_default().push(sent.snapshot.clone());
        }
    }
}

/// Large rounds teach the rate, the last delta teaches the last delta.
fn learn_rate(
    control: &mut Control,
    service: &flocker_types::ids::ServiceId,
    round: &Round,
    in_copy: bool,
) {
    const RATE_BYTES_MIN: u64 = 16 << 20;
    let Some(record) = control.state.service_mut(service) else {
        return;
    };
    if in_copy && round.bytes >= RATE_BYTES_MIN && round.milliseconds > 0 {
        let rate = round.bytes.saturating_mul(1_000) / round.milliseconds;
        record.learned.copy_bytes_per_second =
            Some(pace::mean(record.learned.copy_bytes_per_second, rate));
    }
    if !in_copy {
        record.learned.delta_ms = Some(pace::mean(record.learned.delta_ms, round.milliseconds));
    }
}
