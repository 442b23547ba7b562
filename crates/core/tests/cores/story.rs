//! Moves, told as ARCHITECTURE.md tells them, on the cores alone.

use crate::world::{World, database, deployment, node_id, service};
use flocker_core::control::{Request, Response};
use flocker_types::api::{RemoveVolumeRequest, RestoreVolumeRequest};
use flocker_types::container::{BindMount, Ulimit};
use flocker_types::operation::{OperationKind, OperationStatus, Phase};
use flocker_types::volume::Role;

const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn world_with_database() -> World {
    let mut world = World::new(3);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    assert_eq!(world.runs_on("db"), Some(node_id(1)));
    world
}

#[test]
fn a_database_moves_with_its_data() {
    let mut world = world_with_database();
    world.write("db", 1);
    world.write("db", 2);
    let operation = world.begin_move("db", "n2")[0];
    while world.operation(operation).phase < Phase::Hold {
        // Clients write while the copy goes on.
        assert_eq!(world.runs_on("db"), Some(node_id(1)));
        assert!(world.deliver());
    }
    world.write("db", 3);
    world.settle();

    let done = world.operation(operation);
    assert_eq!(done.status, OperationStatus::Succeeded);
    assert!(done.pause_ms.is_some() && done.predicted.is_some());
    assert_eq!(world.runs_on("db"), Some(node_id(2)));
    assert_eq!(world.read("db"), vec![1, 2, 3]);
    assert_eq!(world.served_by("db"), vec![Some(node_id(2)); 3]);
    // The source keeps a replica at the final head, so that moving back sends a delta.
    let state = world.control.as_ref().unwrap().state();
    let volume = state.volumes.values().next().unwrap();
    assert_eq!(volume.copies[&node_id(1)].role, Role::Replica);
    assert_eq!(
        volume.copies[&node_id(1)].snapshots.last(),
        volume.head.as_ref()
    );
}

#[test]
fn a_removed_service_leaves_its_ports_to_others() {
    let mut world = world_with_database();
    world.begin_remove("db");
    world.settle();
    for node in 1..=3 {
        let route = &world.routes[&(node_id(node), service("db"))];
        assert!(route.ports.is_empty(), "{route:?}");
    }
    world.deploy(&deployment(&[(database("other", 5432), "n2")], &NODES));
    assert_eq!(world.served_by("other"), vec![Some(node_id(2)); 3]);
    // It comes back with its data at another port.
    world.deploy(&deployment(
        &[
            (database("db", 5433), "n1"),
            (database("other", 5432), "n2"),
        ],
        &NODES,
    ));
    assert_eq!(world.served_by("db"), vec![Some(node_id(1)); 3]);
}

#[test]
fn after_the_first_round_trip_every_move_sends_a_delta() {
    let mut world = world_with_database();
    let mut expected = Vec::new();
    for (record, node) in ["n2", "n3", "n1", "n2", "n3", "n1", "n3", "n2"]
        .iter()
        .enumerate()
    {
        let record = record as u64;
        world.write("db", record);
        expected.push(record);
        let operation = world.begin_move("db", node)[0];
        world.settle();
        assert_eq!(
            world.operation(operation).status,
            OperationStatus::Succeeded
        );
        assert_eq!(world.read("db"), expected);
        let full = world
            .operation(operation)
            .rounds
            .iter()
            .filter(|round| round.full)
            .count();
        assert_eq!(full, usize::from(record < 2), "move {record} to {node}");
    }
    // Snapshots do not pile up.
    for volume in world.control.as_ref().unwrap().state().volumes.values() {
        for (node, copy) in &volume.copies {
            assert!(copy.snapshots.len() <= 3, "{node}: {:?}", copy.snapshots);
        }
    }
}

#[test]
fn two_services_swap_their_nodes() {
    let mut world = World::new(2);
    let (a, b) = (database("a", 5001), database("b", 5002));
    world.deploy(&deployment(
        &[(a.clone(), "n1"), (b.clone(), "n2")],
        &["n1", "n2"],
    ));
    world.write("a", 1);
    world.write("b", 2);
    world.deploy(&deployment(&[(a, "n2"), (b, "n1")], &["n1", "n2"]));
    assert_eq!(world.runs_on("a"), Some(node_id(2)));
    assert_eq!(world.runs_on("b"), Some(node_id(1)));
    assert_eq!((world.read("a"), world.read("b")), (vec![1], vec![2]));
}

#[test]
fn a_removed_service_finds_its_data_on_whichever_node() {
    let mut world = world_with_database();
    world.write("db", 7);
    world.begin_remove("db");
    world.settle();
    assert_eq!(world.runs_on("db"), None);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    assert_eq!(world.read("db"), vec![7]);
    world.deploy(&deployment(&[], &NODES));
    assert_eq!(world.runs_on("db"), None);
    world.deploy(&deployment(&[(database("db", 5432), "n3")], &NODES));
    assert_eq!(world.runs_on("db"), Some(node_id(3)));
    assert_eq!(world.read("db"), vec![7]);
}

#[test]
fn a_volume_that_waits_for_its_deletion_has_given_up_its_name() {
    let mut world = world_with_database();
    world.write("db", 1);
    world.begin_remove("db");
    world.settle();
    let state = world.control.as_ref().unwrap().state();
    let volume = *state.volumes.keys().next().unwrap();
    let doom = || {
        Request::RemoveVolume(RemoveVolumeRequest {
            volume,
            grace_ms: 3_600_000,
        })
    };
    let restore = || Request::RestoreVolume(RestoreVolumeRequest { volume });
    let ask = |world: &mut World, request| {
        let number = world.ask(request);
        world.replies.remove(&number).unwrap()
    };
    assert_eq!(ask(&mut world, doom()), Ok(Response::Done));
    assert_eq!(ask(&mut world, restore()), Ok(Response::Done));
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    assert_eq!(world.read("db"), vec![1], "it was taken back");

    world.begin_remove("db");
    world.settle();
    assert_eq!(ask(&mut world, doom()), Ok(Response::Done));
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    assert_eq!(world.read("db"), Vec::<u64>::new(), "a new volume");
    assert!(ask(&mut world, restore()).is_err(), "the name is taken");
    world.pass_ms(3_700_000);
    world.settle();
    assert!(world.runs_on("db").is_some());
    let state = world.control.as_ref().unwrap().state();
    assert!(!state.volumes.contains_key(&volume));
    assert_eq!(state.volumes.len(), 1);
}

#[test]
fn a_node_left_out_of_the_manifest_still_gives_up_its_service() {
    let mut world = world_with_database();
    world.write("db", 7);
    world.deploy(&deployment(&[(database("db", 5432), "n2")], &["n2"]));
    assert_eq!(world.runs_on("db"), Some(node_id(2)));
    assert_eq!(world.read("db"), vec![7]);
}

#[test]
fn planning_again_changes_nothing() {
    let mut world = world_with_database();
    let request = deployment(&[(database("db", 5432), "n1")], &NODES);
    let plan = world.plan(&request).unwrap();
    assert_eq!(plan.steps, Vec::new());
    assert_eq!(plan.unchanged, vec![service("db")]);
}

#[test]
fn a_service_with_a_bind_mount_stays_on_its_node() {
    let mut world = World::new(3);
    let (name, mut spec) = database("db", 5432);
    spec.container.binds.push(BindMount {
        source: "/srv/conf".to_owned(),
        target: "/conf".to_owned(),
        read_only: true,
        create_source: false,
        propagation: None,
    });
    let request = |node| deployment(&[((name.clone(), spec.clone()), node)], &NODES);
    let plan = world.plan(&request("n1")).unwrap();
    assert_eq!(
        plan.warnings,
        [
            "db: the bind mount /srv/conf belongs to n1: the service stays there, and what is in it \
             is neither copied nor moved"
        ]
    );
    world.deploy(&request("n1"));
    let refusal = world.plan(&request("n2")).unwrap_err();
    assert!(
        refusal
            .message
            .contains("ties it to n1, so it cannot be moved to n2"),
        "{}",
        refusal.message
    );
    let mut changed = spec.clone();
    changed
        .container
        .ulimits
        .insert("nofile".to_owned(), Ulimit { soft: 1, hard: 2 });
    let plan = world.plan(&deployment(&[((name.clone(), changed), "n1")], &NODES));
    let steps = plan.unwrap().steps;
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].kind, OperationKind::Replace);
    assert_eq!(
        steps[0].changes,
        ["limits of processes: {} -> {\"nofile\": Ulimit { soft: 1, hard: 2 }}"]
    );
}

#[test]
fn a_last_delta_that_fails_after_the_stop_leads_back() {
    let mut world = world_with_database();
    world.write("db", 1);
    let operation = world.begin_move("db", "n2")[0];
    while world.operation(operation).phase < Phase::LastDelta {
        assert!(world.deliver());
    }
    world.kill_agent(node_id(2));
    world.settle();
    world.pass_ms(40_000);
    assert!(matches!(
        world.operation(operation).status,
        OperationStatus::Failed {
            phase: Phase::LastDelta,
            ..
        }
    ));
    assert_eq!(world.runs_on("db"), Some(node_id(1)));
    assert_eq!(world.read("db"), vec![1]);
    assert_eq!(world.served_by("db"), vec![Some(node_id(1)); 3]);
    world.start_agent(node_id(2));
    world.settle();
    let again = world.begin_move("db", "n2")[0];
    world.settle();
    assert_eq!(world.operation(again).status, OperationStatus::Succeeded);
    assert_eq!(world.read("db"), vec![1]);
}

#[test]
fn a_rebooted_node_starts_its_service_only_when_control_has_spoken() {
    let mut world = world_with_database();
    world.write("db", 1);
    world.kill_control();
    world.kill_agent(node_id(1));
    world.nodes.get_mut(&node_id(1)).unwrap().reboot();
    world.start_agent(node_id(1));
    world.pass_ms(60_000);
    assert_eq!(world.runs_on("db"), None);
    world.start_control();
    world.settle();
    assert_eq!(world.runs_on("db"), Some(node_id(1)));
    assert_eq!(world.read("db"), vec![1]);
}
