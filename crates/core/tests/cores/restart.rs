//! Containers that end by themselves, and when they are started again; agents that connect again.

use crate::world::{World, database, deployment, node_id, service};
use flocker_core::agent::Event;
use flocker_core::control::{self, Request};
use flocker_types::app::RestartPolicy;
use flocker_types::link::Follow;

/// Deploys with a policy, then lets the container end `ends` times with this code; returns how often
/// it ran in all.
fn starts(policy: RestartPolicy, code: i64, ends: u32) -> u32 {
    let mut world = World::new(1);
    let mut db = database("db", 5432);
    db.1.restart = policy;
    world.deploy(&deployment(&[(db, "n1")], &["n1"]));
    let mut starts = 1;
    for _ in 0..ends {
        let id = service("db");
        let node = world.nodes.get_mut(&node_id(1)).expect("a node");
        node.crash_container(&id, code);
        world.tell(node_id(1), Event::Exited { service: id, code });
        world.pass_ms(70_000);
        if world.runs_on("db").is_none() {
            return starts;
        }
        starts += 1;
    }
    starts
}

#[test]
fn restart_policies_are_those_of_the_old_flocker() {
    assert_eq!(starts(RestartPolicy::Never, 1, 3), 1);
    assert_eq!(starts(RestartPolicy::Always, 0, 3), 4);
    let on_failure = |retries_max| RestartPolicy::OnFailure { retries_max };
    assert_eq!(starts(on_failure(None), 0, 3), 1);
    assert_eq!(starts(on_failure(None), 1, 3), 4);
    assert_eq!(starts(on_failure(Some(5)), 1, 9), 6);
}

#[test]
fn a_service_that_was_stopped_behind_our_back_runs_again_after_a_deployment() {
    let mut world = World::new(1);
    let request = deployment(&[(database("db", 5432), "n1")], &["n1"]);
    world.deploy(&request);
    world.write("db", 1);
    let node = world.nodes.get_mut(&node_id(1)).expect("a node");
    node.crash_container(&service("db"), 137);
    world.tell(
        node_id(1),
        Event::Exited {
            service: service("db"),
            code: 137,
        },
    );
    world.settle();
    assert_eq!(world.runs_on("db"), None);
    world.deploy(&request);
    assert_eq!(world.read("db"), vec![1]);
}

#[test]
fn a_removed_service_stops_and_its_node_forgets_the_container() {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1"]));
    world.begin_remove("db");
    world.settle();
    assert_eq!(world.runs_on("db"), None);
    assert_eq!(world.served_by("db"), vec![None, None]);
    assert_eq!(
        world.nodes[&node_id(1)].pool.holders().len(),
        1,
        "the volume stays"
    );
}

#[test]
fn a_container_that_went_down_with_its_engine_is_started_again() {
    let mut world = World::new(1);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1"]));
    world.write("db", 1);
    let node = world.nodes.get_mut(&node_id(1)).expect("a node");
    node.crash_container(&service("db"), 137);
    let seen = node.seen();
    world.tell(node_id(1), Event::Containers(seen));
    world.settle();
    assert_eq!(world.read("db"), vec![1]);
}

#[test]
fn a_log_ends_for_its_reader_when_the_agent_connects_again_before_its_old_connection_is_missed() {
    let mut world = World::new(1);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1"]));
    let request = world.ask(Request::Logs {
        service: service("db"),
        tail: None,
        follow: Follow::No,
    });
    let agent = world.nodes[&node_id(1)].agent.as_ref().expect("an agent");
    let hello = Box::new(agent.hello());
    world.step_control(control::Event::AgentConnected {
        session: control::Session(u64::MAX),
        hello,
    });
    let answer = world.replies.remove(&request);
    assert!(matches!(answer, Some(Err(_))), "{answer:?}");
}

/// Until it has been started again a reboot counts, whatever becomes of the agent meanwhile.
#[test]
fn a_service_that_a_reboot_ended_is_started_though_its_agent_dies_before_that() {
    let mut world = World::new(1);
    let mut db = database("db", 5432);
    db.1.restart = RestartPolicy::Never;
    world.deploy(&deployment(&[(db, "n1")], &["n1"]));
    world.kill_control();
    for reboots in [true, false] {
        world.kill_agent(node_id(1));
        if reboots {
            let node = world.nodes.get_mut(&node_id(1)).expect("a node");
            node.reboot();
        }
        world.start_agent(node_id(1));
        world.settle();
    }
    assert_eq!(world.runs_on("db"), None, "control has not spoken");
    world.start_control();
    world.settle();
    assert_eq!(world.runs_on("db"), Some(node_id(1)));
}
