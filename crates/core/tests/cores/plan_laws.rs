//! The planner's laws, on random deployments: what was asked for is so afterwards, asking again
//! changes nothing, and no data is ever lost on the way.

use crate::world::{World, database, deployment, node_id, service};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const SERVICES: [&str; 3] = ["a", "b", "c"];

/// Where each service is to be; none for nowhere.
fn wish() -> impl Strategy<Value = [Option<usize>; 3]> {
    prop::array::uniform3(prop::option::weighted(0.8, 0..3_usize))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn deployments_converge_and_are_idempotent(wishes in prop::collection::vec(wish(), 1..6)) {
        let mut world = World::new(3);
        let mut written: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (round, wish) in wishes.iter().enumerate() {
            let placed: Vec<_> = SERVICES
                .iter()
                .zip(wish)
                .zip(5001..)
                .filter_map(|((name, node), port)| Some((database(name, port), NODES[(*node)?])))
                .collect();
            let request = deployment(&placed, &NODES);
            world.deploy(&request);
            let again = world.plan(&request).expect("a plan");
            prop_assert!(again.steps.is_empty(), "{:?}", again.steps);
            for (name, node) in SERVICES.iter().zip(wish) {
                let wanted = node.map(|node| node_id(node as u128 + 1));
                prop_assert_eq!(world.runs_on(name), wanted);
                if wanted.is_some() {
                    let records = written.entry(name).or_default();
                    prop_assert_eq!(&world.read(name), &*records);
                    world.write(name, round as u64);
                    records.push(round as u64);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_is_said_all_at_once() {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1", "n2"]));
    let mut other = deployment(
        &[(database("a", 5432), "n1"), (database("b", 1), "n9")],
        &[],
    );
    other.application.name = "other".parse().expect("a valid name");
    let error = world.plan(&other).expect_err("it cannot be");
    assert_eq!(
        error.message,
        "b: there is no node n9; the cluster's nodes are n1, n2\n\
         other/a: port 5432 is published by db already; choose another external port"
    );
}

#[test]
fn a_node_that_is_away_is_found_while_planning() {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1", "n2"]));
    world.kill_agent(node_id(2));
    let error = world
        .plan(&deployment(&[(database("db", 5432), "n2")], &["n1", "n2"]))
        .expect_err("it cannot be");
    assert!(
        error.message.contains("n2, whose agent is not connected"),
        "{}",
        error.message
    );
    assert_eq!(world.runs_on("db"), Some(node_id(1)));
    assert!(world.operation_of(&service("db")).is_none());
}
