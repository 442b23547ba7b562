//! Examples of what agents say to each other, and of plans and operations.

use super::{
    checksum, failure, full_spec, node, plain_spec, service, snapshot, task_id, volume_id,
};
use flocker_types::ids::{Epoch, Generation};
use flocker_types::operation::{
    HeldConnections, Operation, OperationKind, OperationStatus, OperationVolume, Phase, Prediction,
    ProvedHead, Round,
};
use flocker_types::plan::{Plan, PlanStep, PlannedVolume};
use flocker_types::stream::{StreamReply, StreamRequest};
use flocker_types::time::UnixMs;
use flocker_types::volume::StorageKind;
use std::collections::BTreeMap;

pub(crate) fn stream_requests() -> Vec<StreamRequest> {
    let send = |from, bytes_estimate| StreamRequest::Send {
        volume: volume_id(),
        epoch: Epoch(4),
        storage: StorageKind::Zfs,
        from,
        to: snapshot(2),
        bytes_estimate,
    };
    vec![
        StreamRequest::Ask {
            volume: volume_id(),
        },
        send(Some(snapshot(1)), Some(4096)),
        send(None, None),
        StreamRequest::Image {
            image: "postgres:16".to_owned(),
        },
    ]
}

pub(crate) fn stream_replies() -> Vec<StreamReply> {
    vec![
        StreamReply::Have {
            snapshots: vec![snapshot(1), snapshot(2)],
        },
        StreamReply::Ready,
        StreamReply::Received {
            checksum: checksum(),
            bytes: 4096,
        },
        StreamReply::Refused { failure: failure() },
    ]
}

pub(crate) fn plans() -> Vec<Plan> {
    let step = PlanStep {
        service: service(),
        kind: OperationKind::Move,
        source: Some(node(1)),
        source_name: Some("alpha".parse().unwrap()),
        target: Some(node(2)),
        target_name: Some("beta".parse().unwrap()),
        spec: full_spec(),
        volumes: vec![PlannedVolume {
            name: "data".parse().unwrap(),
            id: Some(volume_id()),
            epoch: Some(Epoch(4)),
            size_bytes_max: Some(1 << 30),
        }],
        changes: vec!["image: postgres:15 -> postgres:16".to_owned()],
        copy_bytes: 1 << 30,
        copy_ms: 3_000,
        pause: Some(prediction()),
    };
    let start = PlanStep {
        kind: OperationKind::Start,
        source: None,
        source_name: None,
        spec: plain_spec(),
        volumes: vec![PlannedVolume {
            name: "data".parse().unwrap(),
            id: None,
            epoch: None,
            size_bytes_max: None,
        }],
        changes: Vec::new(),
        pause: None,
        ..step.clone()
    };
    vec![Plan {
        based_on: Generation(12),
        seal: String::new(),
        steps: vec![step, start],
        unchanged: vec!["cache".parse().unwrap()],
        warnings: vec!["beta has little room".to_owned()],
    }]
}

fn prediction() -> Prediction {
    Prediction {
        stop_ms: 95,
        delta_ms: 11,
        start_ms: 130,
    }
}

pub(crate) fn operations() -> Vec<Operation> {
    let running = Operation {
        id: task_id().operation,
        service: service(),
        kind: OperationKind::Move,
        source: Some(node(1)),
        target: Some(node(2)),
        spec: plain_spec(),
        volumes: vec![OperationVolume {
            id: volume_id(),
            epoch: Epoch(4),
            made_here: false,
            head: Some(ProvedHead {
                snapshot: snapshot(2),
                checksum: checksum(),
            }),
        }],
        phase: Phase::LastDelta,
        status: OperationStatus::Running,
        task_sequence: 3,
        rounds: vec![Round {
            bytes: 1 << 30,
            wire_bytes: 1 << 28,
            milliseconds: 3_000,
            full: true,
            predicted_pause_ms: 236,
        }],
        predicted: Some(prediction()),
        phase_ms: Phase::ALL.into_iter().zip(1..).collect(),
        pause_ms: Some(240),
        held: HeldConnections {
            connections: 3,
            longest_ms: 230,
        },
        started: UnixMs(1_000),
        finished: None,
        waiting_for: "the last delta".to_owned(),
    };
    let ended = |kind, status| Operation {
        kind,
        status,
        source: None,
        target: None,
        volumes: Vec::new(),
        rounds: Vec::new(),
        predicted: None,
        pause_ms: None,
        phase_ms: BTreeMap::new(),
        finished: Some(UnixMs(9_000)),
        waiting_for: String::new(),
        ..running.clone()
    };
    vec![
        running.clone(),
        ended(OperationKind::Start, OperationStatus::Succeeded),
        ended(
            OperationKind::Replace,
            OperationStatus::Aborting {
                failure: failure(),
                phase: Phase::Copy,
            },
        ),
        ended(
            OperationKind::Remove,
            OperationStatus::Failed {
                failure: failure(),
                phase: Phase::Stop,
            },
        ),
    ]
}
