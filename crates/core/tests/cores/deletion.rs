//! Volumes that a person wants deleted: when they go, when that can be taken back, and that nothing of
//! them is left.

use crate::world::{Parcel, World, database, deployment, node_id};
use flocker_core::agent::Job;
use flocker_core::control::{Request, Response};
use flocker_types::api::{ApiError, RemoveVolumeRequest, RestoreVolumeRequest};
use flocker_types::ids::VolumeId;

const GRACE_MS: u64 = 20_000;

/// A cluster in which a service was removed and its volume is to be deleted after the grace time.
fn doomed() -> (World, VolumeId) {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1", "n2"]));
    world.write("db", 1);
    world.begin_remove("db");
    world.settle();
    let state = world.control.as_ref().expect("control runs").state();
    let volume = *state.volumes.keys().next().expect("a volume");
    let grace_ms = GRACE_MS;
    world.ask(Request::RemoveVolume(RemoveVolumeRequest {
        volume,
        grace_ms,
    }));
    (world, volume)
}

fn is_there(world: &World, volume: VolumeId) -> bool {
    world
        .nodes
        .values()
        .any(|node| node.pool.volumes.contains_key(&volume))
}

fn restore(world: &mut World, volume: VolumeId) -> Result<Response, ApiError> {
    let number = world.ask(Request::RestoreVolume(RestoreVolumeRequest { volume }));
    world.replies.remove(&number).expect("answered at once")
}

#[test]
fn a_date_that_jumps_and_a_restart_of_control_shorten_no_grace_time() {
    let (mut world, volume) = doomed();
    world.pass_ms(5_000);
    world.date_ahead_ms = 1_000_000;
    world.pass_ms(10_000);
    assert!(is_there(&world, volume));
    world.kill_control();
    world.start_control();
    world.pass_ms(3_000);
    assert!(is_there(&world, volume));
    world.pass_ms(GRACE_MS);
    assert!(!is_there(&world, volume), "it goes in the end");
    let state = world.control.as_ref().unwrap().state();
    assert!(state.volumes.is_empty());
}

#[test]
fn a_deletion_that_has_begun_cannot_be_taken_back() {
    let (mut world, volume) = doomed();
    world.pass_ms(10_000);
    assert!(restore(&mut world, volume).is_ok());
    world.pass_ms(2 * GRACE_MS);
    assert!(is_there(&world, volume), "it was restored");
    let grace_ms = 0;
    world.ask(Request::RemoveVolume(RemoveVolumeRequest {
        volume,
        grace_ms,
    }));
    let grace_ms = GRACE_MS;
    world.ask(Request::RemoveVolume(RemoveVolumeRequest {
        volume,
        grace_ms,
    }));
    let refused = restore(&mut world, volume).unwrap_err();
    assert!(refused.message.contains("grace time"), "{refused:?}");
    world.pass_ms(5_000);
    assert!(!is_there(&world, volume));
}

#[test]
fn a_volume_that_is_made_after_it_was_given_up_goes_again() {
    let mut world = World::new(2);
    world.begin(&deployment(&[(database("db", 5432), "n1")], &["n1", "n2"]));
    let makes = |parcel: &Parcel| matches!(parcel, Parcel::Job(_, job) if matches!(job.work, Job::CreateVolume { .. }));
    let late = loop {
        match world.hold_back(makes) {
            Some(parcel) => break parcel,
            None => assert!(world.deliver(), "no volume is made"),
        }
    };
    let Parcel::Job(_, job) = &late else {
        unreachable!("a job was held back");
    };
    let Job::CreateVolume { label } = &job.work else {
        unreachable!("it makes a volume");
    };
    let given_up = label.id;
    world.kill_agent(node_id(1));
    world.settle();
    world.pass_ms(120_000);
    world.deploy(&deployment(&[(database("db", 5432), "n2")], &["n1", "n2"]));
    world.pass_ms(5_000);
    assert_eq!(world.runs_on("db"), Some(node_id(2)));
    world.start_agent(node_id(1));
    world.release(late);
    world.deliver();
    assert!(is_there(&world, given_up), "it is made late");
    world.settle();
    world.pass_ms(40_000);
    assert!(!is_there(&world, given_up), "nobody deletes it");
}
