//! What comes later than it should, or sooner: an old order, the engine's news.

use crate::world::{JobParcel, Parcel, World, database, deployment, node_id, service};
use flocker_core::agent::{Event, Job, JobOutcome};
use flocker_types::ids::{Generation, NodeId};
use flocker_types::link::{AgentMessage, ToAgent};
use flocker_types::operation::{OperationStatus, Phase};
use flocker_types::task::{ContainerState, Directive, Failure, Retry, Want};
use flocker_types::volume::Role;

const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn world_with_database() -> World {
    let mut world = World::new(3);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    world.write("db", 1);
    world
}

/// The node of a job that deletes old snapshots, where the service does not run.
fn prunes_replica(world: &World, parcel: &Parcel) -> Option<NodeId> {
    match parcel {
        Parcel::Job(node, job) if matches!(job.work, Job::Prune { .. }) => {
            Some(*node).filter(|node| world.runs_on("db") != Some(*node))
        }
        _ => None,
    }
}

/// Moves the service round until a replica's old snapshots are about to be deleted, and holds that back.
fn held_prune() -> (World, Parcel, NodeId, u64) {
    let mut world = world_with_database();
    for (record, target) in (2..20).zip(["n3", "n1", "n2"].into_iter().cycle()) {
        world.write("db", record);
        world.begin_move("db", target);
        loop {
            let runs_on = world.runs_on("db");
            let held = world.hold_back(
                |parcel| matches!(parcel, Parcel::Job(node, job) if matches!(job.work, Job::Prune { .. }) && runs_on != Some(*node)),
            );
            if let Some(parcel) = held {
                let node = prunes_replica(&world, &parcel).expect("it prunes a replica");
                world.settle();
                return (world, parcel, node, record);
            }
            if !world.deliver() {
                break;
            }
        }
    }
    panic!("nothing is ever pruned on a replica");
}

#[test]
fn a_late_deletion_of_old_snapshots_spares_what_was_received_since() {
    for steps in 0..200 {
        let (mut world, parcel, target, last) = held_prune();
        let name = format!("n{}", target.0.as_u128());
        world.write("db", last + 1);
        let operation = world.begin_move("db", &name)[0];
        let ended_before = (0..steps).any(|_| !world.deliver());
        world.release(parcel);
        world.settle();
        world.pass_ms(5_000);
        assert_eq!(
            world.operation(operation).status,
            OperationStatus::Succeeded,
            "late by {steps} messages"
        );
        assert_eq!(world.runs_on("db"), Some(target));
        assert_eq!(world.read("db").last(), Some(&(last + 1)));
        if ended_before {
            return;
        }
    }
    panic!("the move takes more than 200 messages");
}

fn is_run(parcel: &Parcel) -> bool {
    matches!(
        parcel,
        Parcel::Job(
            _,
            JobParcel {
                work: Job::Run { .. },
                ..
            }
        )
    )
}

#[test]
fn a_container_that_is_ready_before_its_start_is_over_counts_as_ready() {
    let mut world = world_with_database();
    let (n1, db) = (node_id(1), service("db"));
    world.kill_agent(n1);
    world.nodes.get_mut(&n1).unwrap().remove_container(&db);
    world.start_agent(n1);
    let run = loop {
        match world.hold_back(is_run) {
            Some(run) => break run,
            None => assert!(world.deliver(), "it is not started again"),
        }
    };
    // The engine is quicker than the job's own end, and says it once.
    world.tell(n1, Event::Ready { service: db });
    world.release(run);
    assert!(world.deliver());
    world.hold_back(
        |parcel| matches!(parcel, Parcel::Tell(_, _, event) if matches!(**event, Event::Ready { .. })),
    );
    world.settle();
    let hello = world.nodes[&n1].agent.as_ref().unwrap().hello();
    assert!(
        matches!(hello.services[0].state, ContainerState::Running { .. }),
        "{:?}",
        hello.services
    );
}

#[test]
fn a_container_is_known_as_what_its_start_began_with() {
    let mut world = world_with_database();
    let (n1, db) = (node_id(1), service("db"));
    world.kill_agent(n1);
    world.nodes.get_mut(&n1).unwrap().remove_container(&db);
    world.start_agent(n1);
    let mut directive: Directive = world.nodes[&n1].ledger.directives[&db].clone();
    let run = loop {
        match world.hold_back(is_run) {
            Some(run) => break run,
            None => assert!(world.deliver(), "it is not started again"),
        }
    };
    // While it is started control wants another.
    directive.generation = Generation(directive.generation.0 + 100);
    if let Want::Run { container, .. } = &mut directive.want {
        container.spec.image = "postgres:16".to_owned();
    }
    world.tell(n1, Event::Control(ToAgent::Directive(directive)));
    world.release(run);
    world.settle();
    let node = &world.nodes[&n1];
    let known = node.agent.as_ref().unwrap().memory().containers;
    assert_eq!(known[0].fingerprint, node.seen()[0].fingerprint);
    assert_eq!(node.running(), [db]);
}

#[test]
fn late_news_of_a_containers_end_does_not_pass_for_a_stop() {
    let mut world = world_with_database();
    let db = service("db");
    // It runs; the news is of the run before.
    world.tell(
        node_id(1),
        Event::Exited {
            service: db,
            code: 0,
        },
    );
    let operation = world.begin_move("db", "n2")[0];
    world.settle();
    world.pass_ms(5_000);
    assert_eq!(
        world.operation(operation).status,
        OperationStatus::Succeeded
    );
    assert_eq!(world.runs_on("db"), Some(node_id(2)));
    assert_eq!(world.read("db"), vec![1]);
}

/// News of the run before makes the agent ask the engine by repeating the start, and that fails.
#[test]
fn a_question_that_the_engine_does_not_answer_is_asked_again_and_stops_no_container() {
    for retry in [Retry::MayHelp, Retry::Pointless] {
        let mut world = world_with_database();
        let (n1, db) = (node_id(1), service("db"));
        world.kill_agent(n1);
        world.nodes.get_mut(&n1).unwrap().remove_container(&db);
        world.start_agent(n1);
        let mut runs = Vec::new();
        while runs.len() < 2 {
            if let Some(run) = world.hold_back(is_run) {
                if runs.is_empty() {
                    let (service, code) = (db.clone(), 0);
                    world.tell(n1, Event::Exited { service, code });
                    world.release(run);
                    runs.push(None);
                } else {
                    runs.push(Some(run));
                }
            }
            assert!(world.deliver() || runs.len() == 2, "nobody asks");
        }
        let Some(Some(Parcel::Job(_, JobParcel { job, .. }))) = runs.pop() else {
            panic!("the second start is a job");
        };
        let before = world.interventions()[&n1];
        let message = "the engine failed".to_owned();
        let result = Err(Failure { message, retry });
        world.tell(n1, Event::JobDone { job, result });
        world.settle();
        world.pass_ms(10_000);
        let asked_again = world.interventions()[&n1] - before;
        assert_eq!(
            asked_again, 1,
            "it was asked again, and nothing was stopped"
        );
        assert_eq!(world.runs_on("db"), Some(n1));
        let hello = world.nodes[&n1].agent.as_ref().unwrap().hello();
        let state = &hello.services[0].state;
        assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
    }
}

#[test]
fn what_the_target_confirmed_to_the_source_is_known_though_its_own_word_does_not_come() {
    let mut world = world_with_database();
    world.begin_move("db", "n3");
    let own_word = |parcel: &Parcel| {
        matches!(parcel,
            Parcel::ToControl(_, AgentMessage::Volume(copy)) if copy.role == Role::Replica)
    };
    let known = |world: &World| {
        let state = world.control.as_ref().unwrap().state();
        let volume = state.volumes.values().next().unwrap();
        volume
            .copies
            .get(&node_id(3))
            .map_or(0, |copy| copy.snapshots.len())
    };
    while known(&world) == 0 {
        drop(world.hold_back(own_word));
        assert!(world.deliver(), "the source's word does not count");
    }
}

#[test]
fn news_of_a_stop_brings_no_second_one() {
    let mut world = world_with_database();
    let operation = world.begin_move("db", "n2")[0];
    while world.operation(operation).phase < Phase::LastDelta {
        assert!(world.deliver());
    }
    let before = world.interventions()[&node_id(1)];
    world.tell(
        node_id(1),
        Event::Exited {
            service: service("db"),
            code: 0,
        },
    );
    world.settle();
    // Clients wait: only the removal of the container comes after, when they do no more.
    assert_eq!(world.interventions()[&node_id(1)], before + 1);
    assert_eq!(world.read("db"), vec![1]);
}

#[test]
fn what_a_start_saw_when_it_began_does_not_hide_the_snapshots_taken_since() {
    let mut world = world_with_database();
    let (n1, db) = (node_id(1), service("db"));
    world.kill_agent(n1);
    world.nodes.get_mut(&n1).unwrap().remove_container(&db);
    world.start_agent(n1);
    let end = |parcel: &Parcel| {
        matches!(parcel, Parcel::Tell(_, _, event)
            if matches!(**event, Event::JobDone { result: Ok(JobOutcome::Running { .. }), .. }))
    };
    let end = loop {
        match world.hold_back(end) {
            Some(end) => break end,
            None => assert!(world.deliver(), "it is not started again"),
        }
    };
    let snapshots = |world: &World| {
        let hello = world.nodes[&n1].agent.as_ref().unwrap().hello();
        hello.volumes[0].snapshots.len()
    };
    world.begin_move("db", "n2");
    while snapshots(&world) == 0 {
        assert!(world.deliver(), "nothing is copied");
    }
    world.release(end);
    world.deliver();
    assert_ne!(snapshots(&world), 0);
}

/// What a node said before a snapshot came to it arrives after its source has said that it came.
#[test]
fn an_older_list_of_the_target_does_not_hide_what_its_source_saw_arrive() {
    let mut world = world_with_database();
    world.begin_move("db", "n3");
    let own_word = |parcel: &Parcel| {
        matches!(parcel,
            Parcel::ToControl(_, AgentMessage::Volume(copy)) if copy.role == Role::Replica)
    };
    let known = |world: &World| {
        let state = world.control.as_ref().unwrap().state();
        let volume = state.volumes.values().next().unwrap();
        let copy = volume.copies.get(&node_id(3));
        copy.map_or_else(Vec::new, |copy| copy.snapshots.clone())
    };
    let mut held = Vec::new();
    while known(&world).len() < 2 {
        held.extend(world.hold_back(own_word));
        assert!(world.deliver(), "one round is no test");
    }
    let newest = known(&world).last().cloned();
    assert!(held.len() > 1, "the target says something after each round");
    world.release(held.swap_remove(0));
    world.deliver();
    assert_eq!(known(&world).last().cloned(), newest);
}
