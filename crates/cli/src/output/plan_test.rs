//! Tests of how a plan is shown.

use super::*;
use flocker_types::app::{PortMapping, ServiceSpec};
use flocker_types::ids::{Epoch, Generation, NodeName, VolumeId, VolumeName};
use flocker_types::operation::Prediction;
use flocker_types::plan::PlannedVolume;

fn step(
    service: &str,
    kind: OperationKind,
    source: Option<&str>,
    target: Option<&str>,
) -> PlanStep {
    let name = |text: Option<&str>| text.map(|text| NodeName::new(text).unwrap());
    PlanStep {
        service: service.parse().unwrap(),
        kind,
        source: None,
        source_name: name(source),
        target: None,
        target_name: name(target),
        spec: ServiceSpec::of_image("nginx:1.25"),
        volumes: Vec::new(),
        changes: Vec::new(),
        copy_bytes: 0,
        copy_ms: 0,
        pause: None,
    }
}

fn plan(steps: Vec<PlanStep>, unchanged: &[&str]) -> Plan {
    Plan {
        based_on: Generation(7),
        seal: String::new(),
        steps,
        unchanged: unchanged.iter().map(|name| name.parse().unwrap()).collect(),
        warnings: Vec::new(),
    }
}

#[test]
fn every_kind_of_step_is_shown() {
    let mut start = step("shop/web", OperationKind::Start, None, Some("n1"));
    start.spec.ports = vec![PortMapping {
        internal: 80,
        external: 8080,
    }];
    start.volumes = vec![PlannedVolume {
        name: VolumeName::new("cache").unwrap(),
        id: None,
        epoch: None,
        size_bytes_max: Some(1 << 30),
    }];
    let mut moved = step("shop/db", OperationKind::Move, Some("n1"), Some("n2"));
    moved.volumes = vec![PlannedVolume {
        name: VolumeName::new("data").unwrap(),
        id: Some(VolumeId(uuid::Uuid::nil())),
        epoch: Some(Epoch::FIRST),
        size_bytes_max: None,
    }];
    moved.copy_bytes = 240 << 20;
    moved.copy_ms = 4_100;
    moved.pause = Some(Prediction {
        stop_ms: 200,
        delta_ms: 90,
        start_ms: 540,
    });
    let mut replaced = step("shop/queue", OperationKind::Replace, Some("n3"), Some("n3"));
    replaced.changes = vec!["image redis:6 -> redis:7".to_owned()];
    let removed = step("shop/old", OperationKind::Remove, Some("n3"), None);
    let mut plan = plan(vec![start, moved, replaced, removed], &["shop/a", "shop/b"]);
    plan.warnings = vec!["n3 is not connected".to_owned()];
    insta::assert_snapshot!(render(&plan, Style::Plain));
}

#[test]
fn a_start_with_data_from_elsewhere_says_so() {
    let started = step("db", OperationKind::Start, Some("n1"), Some("n2"));
    let plan = plan(vec![started], &[]);
    insta::assert_snapshot!(render(&plan, Style::Plain));
}

#[test]
fn summaries() {
    assert_eq!(summary(&plan(vec![], &[])), "nothing to do");
    assert_eq!(
        summary(&plan(vec![], &["db"])),
        "nothing to do: 1 service stays as it is"
    );
    let two = || step("a", OperationKind::Start, None, Some("n1"));
    assert_eq!(summary(&plan(vec![two(), two()], &[])), "2 starts");
}
