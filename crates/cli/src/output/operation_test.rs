//! Tests of the reports on operations, and the operations that other renderers' tests show too.

use super::*;
use flocker_types::app::ServiceSpec;
use flocker_types::ids::{NodeName, OperationId};
use flocker_types::operation::{HeldConnections, Operation, Prediction, Round};
use flocker_types::task::{Failure, Retry, TaskProgress};
use flocker_types::time::UnixMs;
use std::collections::BTreeMap;

/// A move of `db` from n1 to n2, in its first copy round.
pub(crate) fn moving() -> OperationView {
    let operation = Operation {
        id: OperationId(uuid::Uuid::from_u128(0x0123_4567 << 96)),
        service: "shop/db".parse().unwrap(),
        kind: OperationKind::Move,
        source: None,
        target: None,
        spec: ServiceSpec::of_image("postgres:15"),
        volumes: Vec::new(),
        phase: Phase::Copy,
        status: OperationStatus::Running,
        task_sequence: 3,
        rounds: Vec::new(),
        predicted: None,
        phase_ms: BTreeMap::new(),
        pause_ms: None,
        held: HeldConnections::default(),
        started: UnixMs(1_800_000_000_000),
        finished: None,
        waiting_for: "n1 to send 1 volume".to_owned(),
    };
    OperationView {
        operation,
        source_name: NodeName::new("n1").ok(),
        target_name: NodeName::new("n2").ok(),
        progress: None,
    }
}

/// The same, ended well.
pub(crate) fn moved() -> OperationView {
    let mut view = moving();
    let round = |bytes, milliseconds, full| Round {
        bytes,
        wire_bytes: bytes / 3,
        milliseconds,
        full,
        predicted_pause_ms: 900,
    };
    view.operation.rounds = vec![
        round(240 << 20, 4_100, true),
        round(3 << 20, 120, false),
        round(100_000, 40, false),
    ];
    view.operation.predicted = Some(Prediction {
        stop_ms: 200,
        delta_ms: 90,
        start_ms: 540,
    });
    view.operation.phase_ms = [
        (Phase::Prepare, 420),
        (Phase::Copy, 4_300),
        (Phase::Hold, 3),
        (Phase::Stop, 180),
        (Phase::LastDelta, 51),
        (Phase::Commit, 4),
        (Phase::Start, 480),
        (Phase::Release, 2),
        (Phase::Keep, 31),
    ]
    .into();
    view.operation.pause_ms = Some(720);
    view.operation.held = HeldConnections {
        connections: 12,
        longest_ms: 710,
    };
    view.operation.phase = Phase::Keep;
    view.operation.status = OperationStatus::Succeeded;
    view.operation.finished = Some(UnixMs(1_800_000_005_471));
    view.operation.waiting_for = String::new();
    view
}

/// The same, failed before the commit.
pub(crate) fn failed() -> OperationView {
    let mut view = moved();
    view.operation.phase = Phase::LastDelta;
    view.operation.rounds.truncate(1);
    view.operation.pause_ms = None;
    view.operation.phase_ms = [(Phase::Prepare, 420), (Phase::Copy, 61_000)].into();
    view.operation.status = OperationStatus::Failed {
        failure: Failure {
            message: "n2 has no room: 240 MiB are needed, 12.0 MiB are free".to_owned(),
            retry: Retry::Pointless,
        },
        phase: Phase::Copy,
    };
    view
}

#[test]
fn a_line_while_it_goes_on() {
    let mut view = moving();
    assert_eq!(
        progress_line(&view, None),
        "move shop/db n1 -> n2: copy, round 1 (waiting for n1 to send 1 volume)"
    );
    view.progress = Some(TaskProgress {
        bytes_done: 60 << 20,
        bytes_total: Some(240 << 20),
    });
    assert_eq!(
        progress_line(&view, Some(30 << 20)),
        "move shop/db n1 -> n2: copy, round 1, 60.0 MiB of 240 MiB, 30.0 MiB/s, 6.0 s left"
    );
    view.progress = Some(TaskProgress {
        bytes_done: 300 << 20,
        bytes_total: Some(240 << 20),
    });
    assert_eq!(
        progress_line(&view, Some(0)),
        "move shop/db n1 -> n2: copy, round 1, 300 MiB"
    );
}

#[test]
fn titles_say_where() {
    let title_of = |kind, source: Option<&str>, target: Option<&str>| {
        let mut view = moving();
        view.operation.kind = kind;
        view.source_name = source.map(|name| NodeName::new(name).unwrap());
        view.target_name = target.map(|name| NodeName::new(name).unwrap());
        title(&view)
    };
    use OperationKind::{Move, Remove, Replace, Start};
    assert_eq!(title_of(Start, None, Some("n1")), "start shop/db on n1");
    assert_eq!(
        title_of(Start, Some("n1"), Some("n1")),
        "start shop/db on n1"
    );
    assert_eq!(
        title_of(Start, Some("n1"), Some("n2")),
        "start shop/db n1 -> n2"
    );
    assert_eq!(
        title_of(Move, Some("n1"), Some("n2")),
        "move shop/db n1 -> n2"
    );
    assert_eq!(
        title_of(Replace, Some("n1"), Some("n1")),
        "replace shop/db on n1"
    );
    assert_eq!(title_of(Remove, Some("n1"), None), "remove shop/db on n1");
}

#[test]
fn a_report_on_a_move() {
    insta::assert_snapshot!(report(&moved(), Style::Plain));
}

#[test]
fn a_report_on_a_failure() {
    insta::assert_snapshot!(report(&failed(), Style::Plain));
}

#[test]
fn a_report_on_what_goes_on() {
    let mut view = moving();
    insta::assert_snapshot!(report(&view, Style::Plain));
    view.operation.status = OperationStatus::Aborting {
        failure: Failure {
            message: "n2 is not connected".to_owned(),
            retry: Retry::MayHelp,
        },
        phase: Phase::Prepare,
    };
    assert_eq!(
        progress_line(&view, None),
        "move shop/db n1 -> n2: going back; it failed in prepare: n2 is not connected"
    );
}
