//! How much volumes use: from its measurement to the plan, and what of it is kept.

use crate::world::{World, database, deployment, node_id};
use flocker_core::agent::Event;
use flocker_core::cluster::{Key, Record};
use flocker_types::link::AgentMessage;
use flocker_types::volume::{Role, VolumeCopy};

const NODES: [&str; 2] = ["n1", "n2"];
const MIB: u64 = 1 << 20;

fn copy_of(world: &World) -> VolumeCopy {
    let state = world.control.as_ref().expect("control runs").state();
    let volume = state.volumes.values().next().expect("it was deployed");
    VolumeCopy {
        label: volume.label(state.meta.cluster, volume.epoch),
        role: Role::Holder,
        snapshots: Vec::new(),
        used_bytes: None,
    }
}

/// What the store has of the only volume.
fn recorded(world: &World) -> Option<u64> {
    let id = copy_of(world).label.id;
    match &world.store[&Key::Volume(id)] {
        Record::Volume(volume) => volume.copies[&node_id(1)].used_bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_shows_what_was_measured() {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    let volume = copy_of(&world).label.id;
    let used_bytes = 500 * MIB;
    world.tell(node_id(1), Event::VolumeUsed { volume, used_bytes });
    world.settle();
    let moved = deployment(&[(database("db", 5432), "n2")], &NODES);
    let plan = world.plan(&moved).unwrap();
    assert_eq!(plan.steps[0].copy_bytes, used_bytes);
    assert!(plan.steps[0].copy_ms > 1_000, "{:?}", plan.steps[0]);
}

#[test]
fn control_records_only_considerable_changes() {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    for (used_bytes, expected) in [
        (Some(100 * MIB), 100),
        (Some(104 * MIB), 100),
        (None, 100),
        (Some(106 * MIB), 106),
        (Some(50 * MIB), 50),
    ] {
        let copy = VolumeCopy {
            used_bytes,
            ..copy_of(&world)
        };
        world.hear(node_id(1), AgentMessage::Volume(copy));
        assert_eq!(recorded(&world), Some(expected * MIB), "{used_bytes:?}");
    }
}
