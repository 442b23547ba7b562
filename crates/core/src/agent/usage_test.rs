//! What an agent's core says of how much its volumes use.

use super::*;
use flocker_types::ids::{ApplicationName, BootId, ClusterId, SnapshotName, VolumeName};
use flocker_types::volume::{PoolUsage, Snapshot, StorageKind};
use std::net::Ipv4Addr;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn held() -> VolumeCopy {
    VolumeCopy {
        label: VolumeLabel {
            cluster: ClusterId(Uuid::nil()),
            id: VolumeId(Uuid::from_u128(1)),
            application: ApplicationName::default(),
            name: VolumeName::new("data").unwrap(),
            epoch: Epoch::FIRST,
            size_bytes_max: None,
            service: None,
        },
        role: Role::Holder,
        snapshots: Vec::new(),
        used_bytes: None,
    }
}

pub(super) fn agent_with(volumes: Vec<VolumeCopy>) -> Agent {
    let boot = BootId(Uuid::from_u128(2));
    let node = NodeId(Uuid::from_u128(3));
    let pool = PoolUsage {
        size_bytes: 1 << 40,
        free_bytes: 1 << 40,
    };
    let hello = AgentHello {
        cluster: ClusterId(Uuid::nil()),
        node,
        name: None,
        boot,
        version: String::new(),
        stream_address: (Ipv4Addr::LOCALHOST, 1).into(),
        node_address: Ipv4Addr::LOCALHOST,
        storage: StorageKind::Btrfs,
        pool,
        volumes: Vec::new(),
        services: Vec::new(),
    };
    let start = Start {
        node,
        boot,
        ledger: Ledger::default(),
        volumes,
        containers: Vec::new(),
        hello,
        container_network: "10.213.0.0/16".parse().unwrap(),
    };
    Agent::new(at(), start).0
}

pub(super) fn at() -> Now {
    Now {
        monotonic: Monotonic(1),
        wall: UnixMs(1),
    }
}

/// What control is told of volumes when this happens.
fn told(agent: &mut Agent, event: Event) -> Vec<VolumeCopy> {
    let output = agent.step(at(), event);
    let volume = |command| match command {
        Command::Send(AgentMessage::Volume(copy)) => Some(copy),
        _ => None,
    };
    output.commands.into_iter().filter_map(volume).collect()
}

fn measured(used_bytes: u64) -> Event {
    Event::VolumeUsed {
        volume: held().label.id,
        used_bytes,
    }
}

#[test]
fn control_hears_of_considerable_changes() {
    let mut agent = agent_with(vec![held()]);
    let first = told(&mut agent, measured(100 * MIB));
    assert_eq!(first[0].used_bytes, Some(100 * MIB));
    assert!(told(&mut agent, measured(104 * MIB)).is_empty());
    // Compared with what was told, not with the last measurement: slow growth is told, too.
    let third = told(&mut agent, measured(106 * MIB));
    assert_eq!(third[0].used_bytes, Some(106 * MIB));
}

#[test]
fn a_copy_without_its_use_keeps_what_is_known() {
    let mut agent = agent_with(vec![held()]);
    told(&mut agent, measured(100 * MIB));
    let snapshot = Snapshot {
        name: SnapshotName::new("s1").unwrap(),
        checksum: None,
        created: UnixMs(0),
    };
    let changed = VolumeCopy {
        snapshots: vec![snapshot],
        ..held()
    };
    let copies = told(&mut agent, Event::Volume(changed.clone()));
    let expected = VolumeCopy {
        used_bytes: Some(100 * MIB),
        ..changed.clone()
    };
    assert_eq!(copies, [expected]);
    // A job's outcome that says nothing new is no news.
    let outcome = Ok(JobOutcome::Volumes(vec![changed]));
    let job = JobId(99);
    assert!(
        told(
            &mut agent,
            Event::JobDone {
                job,
                result: outcome
            }
        )
        .is_empty()
    );
}

#[test]
fn a_late_measurement_makes_no_copy_and_no_holder() {
    let mut agent = agent_with(Vec::new());
    assert!(told(&mut agent, measured(MIB)).is_empty());
    let replica = VolumeCopy {
        role: Role::Replica,
        ..held()
    };
    let mut agent = agent_with(vec![replica]);
    assert!(told(&mut agent, measured(MIB)).is_empty());
}
