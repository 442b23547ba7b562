//! One process is killed, and started again, after every single step of every operation; each time
//! it must end in exactly one running copy with all data.

use crate::world::{World, database, deployment, node_id};
use flocker_types::ids::OperationId;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Control,
    Source,
    Target,
    SourceReboots,
    TargetReboots,
}

const VICTIMS: [Victim; 5] = [
    Victim::Control,
    Victim::Source,
    Victim::Target,
    Victim::SourceReboots,
    Victim::TargetReboots,
];

/// How long the victim is away, in milliseconds: shorter and longer than an operation waits.
const AWAY_MS: [u64; 2] = [500, 45_000];

fn run(victim: Victim, steps: u64, away_ms: u64) -> bool {
    let mut world = World::new(3);
    world.deploy(&deployment(
        &[(database("db", 5432), "n1")],
        &["n1", "n2", "n3"],
    ));
    world.write("db", 1);
    world.begin_move("db", "n3");
    world.settle();
    world.write("db", 2);
    let operation = world.begin_move("db", "n2")[0];
    let mut ended = false;
    for _ in 0..steps {
        ended = !world.deliver();
    }
    strike(&mut world, victim, away_ms);
    world.settle();
    world.pass_ms(130_000);
    let story = world.log.join("\n");
    let node = world.runs_on("db");
    assert!(
        node.is_some(),
        "{victim:?} at {steps}: nothing runs\n{story}"
    );
    assert_eq!(
        world.read("db"),
        vec![1, 2],
        "{victim:?} at {steps}\n{story}"
    );
    let served = world.served_by("db");
    assert_eq!(
        served,
        vec![node; 3],
        "{victim:?} at {steps}: routes\n{story}"
    );
    finished(&world, operation, &story);
    // And it can still be moved.
    let target = if node == Some(node_id(1)) { "n2" } else { "n1" };
    world.begin_move("db", target);
    world.settle();
    world.pass_ms(1_000);
    assert_eq!(
        world.read("db"),
        vec![1, 2],
        "{victim:?} at {steps}: the move after\n{story}"
    );
    ended
}

fn finished(world: &World, operation: OperationId, story: &str) {
    assert!(
        world.operation(operation).finished.is_some(),
        "it never ended\n{story}"
    );
}

fn strike(world: &mut World, victim: Victim, away_ms: u64) {
    let id = match victim {
        Victim::Source | Victim::SourceReboots => node_id(3),
        Victim::Target | Victim::TargetReboots => node_id(2),
        Victim::Control => {
            world.kill_control();
            world.settle();
            world.pass_ms(away_ms);
            world.start_control();
            return;
        }
    };
    world.kill_agent(id);
    if matches!(victim, Victim::SourceReboots | Victim::TargetReboots) {
        world.nodes.get_mut(&id).expect("a node").reboot();
    }
    world.settle();
    world.pass_ms(away_ms);
    world.start_agent(id);
}

#[test]
fn every_process_dies_after_every_step_of_a_move() {
    for victim in VICTIMS {
        for away_ms in AWAY_MS {
            let mut steps = 0;
            while !run(victim, steps, away_ms) {
                steps += 1;
            }
            assert!(steps > 40, "a move has more steps than {steps}");
        }
    }
}
