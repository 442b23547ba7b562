//! A process is killed and started again, a node reboots, or a cable is cut and mended, after every
//! single step of every kind of operation; each time it must end in at most one running copy, with
//! all data, and with routes that agree.

use crate::world::{World, database, deployment, node_id};
use flocker_types::ids::{NodeId, OperationId};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Control,
    Source,
    Target,
    SourceReboots,
    TargetReboots,
    Cut,
}

const FAULTS: [Fault; 6] = [
    Fault::Control,
    Fault::Source,
    Fault::Target,
    Fault::SourceReboots,
    Fault::TargetReboots,
    Fault::Cut,
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Move,
    Replace,
    Remove,
    /// Deployed again, elsewhere than its data is.
    Return,
}

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const SOURCE: u128 = 3;
const TARGET: u128 = 2;

/// How long the fault lasts, in milliseconds: shorter and longer than an operation waits.
const LASTS_MS: [u64; 2] = [500, 45_000];

/// A database on n3 that has been on n1 before, with two records; and an operation of this kind.
fn begin(world: &mut World, kind: Kind) -> OperationId {
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    world.write("db", 1);
    world.begin_move("db", "n3");
    world.settle();
    world.write("db", 2);
    match kind {
        Kind::Move => world.begin_move("db", "n2")[0],
        Kind::Replace => {
            let mut changed = database("db", 5432);
            changed
                .1
                .environment
                .insert("NEW".to_owned(), "1".to_owned());
            world.begin(&deployment(&[(changed, "n3")], &NODES))[0]
        }
        Kind::Remove => world.begin_remove("db")[0],
        Kind::Return => {
            world.begin_remove("db");
            world.settle();
            world.begin(&deployment(&[(database("db", 5432), "n2")], &NODES))[0]
        }
    }
}

/// Runs once; true when the operation was over before the fault came.
fn run(kind: Kind, fault: Fault, steps: u64, lasts_ms: u64) -> bool {
    let mut world = World::new(3);
    let operation = begin(&mut world, kind);
    let mut over = false;
    for _ in 0..steps {
        over = !world.deliver();
    }
    strike(&mut world, fault, lasts_ms);
    world.settle();
    world.pass_ms(130_000);
    let story = format!(
        "{kind:?}, {fault:?} for {lasts_ms} ms at {steps}\n{}",
        world.log.join("\n")
    );
    assert!(
        world.operation(operation).finished.is_some(),
        "it never ended: {story}"
    );
    // A removal that happened and a start that did not leave nothing running; both can be repeated.
    let may_be_gone = matches!(kind, Kind::Remove | Kind::Return);
    if world.runs_on("db").is_none() {
        assert!(may_be_gone, "nothing runs: {story}");
        assert_eq!(world.served_by("db"), vec![None; 3], "{story}");
        world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    }
    let node = world.runs_on("db");
    assert!(node.is_some(), "nothing runs: {story}");
    assert_eq!(world.read("db"), vec![1, 2], "{story}");
    assert_eq!(world.served_by("db"), vec![node; 3], "routes: {story}");
    can_still_be_moved(&mut world, node, &story);
    over
}

fn can_still_be_moved(world: &mut World, node: Option<NodeId>, story: &str) {
    let target = if node == Some(node_id(1)) { "n2" } else { "n1" };
    world.begin_move("db", target);
    world.settle();
    world.pass_ms(1_000);
    assert_ne!(world.runs_on("db"), node, "it moves no more: {story}");
    assert_eq!(world.read("db"), vec![1, 2], "the move after: {story}");
}

fn strike(world: &mut World, fault: Fault, lasts_ms: u64) {
    let id = match fault {
        Fault::Source | Fault::SourceReboots => node_id(SOURCE),
        Fault::Target | Fault::TargetReboots => node_id(TARGET),
        Fault::Cut => {
            world.cut(node_id(SOURCE), node_id(TARGET));
            world.settle();
            world.pass_ms(lasts_ms);
            return world.mend();
        }
        Fault::Control => {
            world.kill_control();
            world.settle();
            world.pass_ms(lasts_ms);
            return world.start_control();
        }
    };
    world.kill_agent(id);
    if matches!(fault, Fault::SourceReboots | Fault::TargetReboots) {
        world.nodes.get_mut(&id).expect("a node").reboot();
    }
    world.settle();
    world.pass_ms(lasts_ms);
    world.start_agent(id);
}

fn every_fault_at_every_step(kind: Kind, steps_min: u64) {
    for fault in FAULTS {
        for lasts_ms in LASTS_MS {
            let mut steps = 0;
            while !run(kind, fault, steps, lasts_ms) {
                steps += 1;
            }
            assert!(steps > steps_min, "{kind:?} has more steps than {steps}");
        }
    }
}

#[test]
fn a_move_survives_every_fault_at_every_step() {
    every_fault_at_every_step(Kind::Move, 40);
}

#[test]
fn a_replacement_survives_every_fault_at_every_step() {
    every_fault_at_every_step(Kind::Replace, 15);
}

#[test]
fn a_removal_survives_every_fault_at_every_step() {
    every_fault_at_every_step(Kind::Remove, 5);
}

#[test]
fn a_return_survives_every_fault_at_every_step() {
    every_fault_at_every_step(Kind::Return, 20);
}
