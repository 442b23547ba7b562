//! Control's store is lost, or an older one is put in its place, and the nodes make it good.

use crate::world::{World, database, deployment, node_id, service};
use flocker_core::recover::{Conflict, Unknown, differences, recover};
use flocker_types::app::{Link, LinkTarget, ServiceSpec};
use flocker_types::ids::{NodeId, ServiceName};
use flocker_types::volume::Role;

const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// A database that has moved, another one, a web service that links to the first, one that is gone.
fn cluster() -> World {
    let mut world = World::new(3);
    let mut web = ServiceSpec::of_image("web");
    web.links.push(Link {
        alias: "db".to_owned(),
        target: LinkTarget::Service(ServiceName::new("db").expect("a name")),
    });
    let web = (ServiceName::new("web").expect("a name"), web);
    let services = [
        (database("db", 5432), "n1"),
        (database("other", 5433), "n3"),
        (database("gone", 5434), "n2"),
        (web, "n2"),
    ];
    world.deploy(&deployment(&services, &NODES));
    world.write("db", 1);
    world.write("gone", 7);
    for node in ["n3", "n1", "n2"] {
        world.begin_move("db", node);
        world.settle();
    }
    world.begin_move("gone", "n1");
    world.settle();
    world.begin_remove("gone");
    world.settle();
    world.write("db", 2);
    world.pass_ms(60_000);
    world
}

fn runs_on(world: &World, name: &str) -> Option<u128> {
    world.runs_on(name).map(|node| node.0.as_u128())
}

#[test]
fn a_lost_store_comes_back_from_the_nodes_and_no_container_notices() {
    let mut world = cluster();
    let lost = world.stored();
    let before = world.interventions();
    world.kill_control();
    let found = world.recovered(None).expect("no conflict");
    assert_eq!(differences(&lost, &found.state), Vec::<String>::new());
    assert!(found.state.meta.generation > lost.meta.generation);
    world.replace_store(found.state);
    world.settle();
    world.pass_ms(60_000);
    assert_eq!(world.interventions(), before, "containers were touched");
    assert_eq!(world.served_by("db"), vec![Some(node_id(2)); 3]);
    world.begin_move("db", "n3");
    world.settle();
    assert_eq!(
        (runs_on(&world, "db"), world.read("db")),
        (Some(3), vec![1, 2])
    );
    world.deploy(&deployment(&[(database("gone", 5434), "n2")], &[]));
    assert_eq!(
        world.read("gone"),
        vec![7],
        "the volume of a removed service is found"
    );
}

#[test]
fn what_was_recovered_is_recovered_again() {
    let mut world = cluster();
    world.kill_control();
    let first = world.recovered(None).expect("no conflict").state;
    world.replace_store(first.clone());
    world.settle();
    let second = world.recovered(Some(world.stored())).expect("no conflict");
    assert_eq!(differences(&first, &second.state), Vec::<String>::new());
    assert!(second.state.meta.generation > first.meta.generation);
}

/// At every step of a move the store is lost; what was begun may be given up, nothing else.
#[test]
fn a_store_lost_at_any_step_of_a_move_loses_nothing_else() {
    let mut steps = 0;
    loop {
        let mut world = World::new(3);
        world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
        world.write("db", 1);
        world.begin_move("db", "n3");
        world.settle();
        world.write("db", 2);
        world.begin_move("db", "n2");
        let over = (0..steps).any(|_| !world.deliver());
        world.kill_control();
        world.settle();
        let found = world
            .recovered(None)
            .unwrap_or_else(|c| panic!("{steps}: {c:?}"));
        let unknowns: Vec<String> = found.unknowns.iter().map(ToString::to_string).collect();
        world.replace_store(found.state);
        world.settle();
        world.pass_ms(130_000);
        let story = format!("{steps}: {}\n{}", unknowns.join("\n"), world.log.join("\n"));
        let node = world.runs_on("db");
        assert!(node.is_some(), "nothing runs: {story}");
        assert_eq!(world.read("db"), vec![1, 2], "{story}");
        assert_eq!(world.served_by("db"), vec![node; 3], "{story}");
        for target in ["n1", "n2", "n3"] {
            world.begin_move("db", target);
            world.settle();
            world.pass_ms(1_000);
            assert_eq!(world.read("db"), vec![1, 2], "moved to {target}: {story}");
        }
        assert_eq!(runs_on(&world, "db"), Some(3), "{story}");
        if over {
            break;
        }
        steps += 1;
    }
    assert!(steps > 40, "a move has more steps than {steps}");
}

/// A backup from any step of a first move is put back after two more moves and other changes.
#[test]
fn an_old_backup_never_wins_over_newer_nodes() {
    let mut steps = 0;
    loop {
        let mut world = World::new(3);
        let services = [(database("db", 5432), "n1"), (database("old", 5433), "n1")];
        world.deploy(&deployment(&services, &NODES));
        world.write("db", 1);
        world.begin_move("db", "n2");
        let over = (0..steps).any(|_| !world.deliver());
        let backup = world.stored();
        world.settle();
        world.begin_move("db", "n3");
        world.begin_remove("old");
        world.deploy(&deployment(&[(database("new", 5435), "n2")], &[]));
        world.settle();
        world.write("db", 2);
        let (lost, before) = (world.stored(), world.interventions());
        world.kill_control();
        let found = world
            .recovered(Some(backup))
            .unwrap_or_else(|c| panic!("{steps}: {c:?}"));
        assert_eq!(
            differences(&lost, &found.state),
            Vec::<String>::new(),
            "{steps}"
        );
        world.replace_store(found.state);
        world.settle();
        world.pass_ms(60_000);
        assert_eq!(
            world.interventions(),
            before,
            "{steps}: containers were touched"
        );
        world.begin_move("db", "n1");
        world.settle();
        assert_eq!(
            (runs_on(&world, "db"), world.read("db")),
            (Some(1), vec![1, 2]),
            "{steps}"
        );
        if over {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "a move has more steps than {steps}");
}

#[test]
fn a_missing_holder_is_waited_for_and_nothing_is_guessed() {
    let mut world = cluster();
    world.kill_control();
    world.kill_agent(node_id(2));
    world.nodes.get_mut(&node_id(2)).expect("a node").reboot();
    let conflicts = world.recovered(None).expect_err("db's holder is away");
    let [conflict @ Conflict::HolderAway { volume, epoch, .. }] = &conflicts[..] else {
        panic!("{conflicts:?}");
    };
    let text = conflict.to_string();
    assert!(
        text.contains("db-data") && text.contains("--prefer"),
        "{text}"
    );
    // The operator takes a replica: a new epoch begins at its newest snapshot.
    let mut evidence = world.evidence(None);
    evidence.preferred.insert(*volume, node_id(1));
    let found = recover(&evidence).expect("the operator has said it");
    let record = &found.state.volumes[volume];
    assert_eq!((record.holder, record.epoch), (node_id(1), epoch.next()));
    assert!(record.head.is_some());
    assert!(
        found
            .unknowns
            .iter()
            .any(|u| matches!(u, Unknown::NodesMissing(n) if n.contains("n2")))
    );
    // The node comes back; with it a second recovery knows both sides, and the older one gives way.
    world.replace_store(found.state.clone());
    world.settle();
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &[]));
    world.start_agent(node_id(2));
    world.settle();
    let second = world
        .recovered(Some(world.stored()))
        .expect("the newer epoch counts");
    assert_eq!(second.state.volumes[volume].holder, node_id(1));
    assert!(
        second
            .unknowns
            .contains(&Unknown::SecondCopy(service("db"), "n2".to_owned()))
    );
}

/// The operator takes the copy of a node that gave the volume up without having heard of it, and was never
/// demoted: it goes on in an epoch above all, with what was written there last.
#[test]
fn a_writable_copy_of_an_older_epoch_that_is_preferred_goes_on_as_it_is() {
    let mut world = World::new(3);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    world.write("db", 1);
    let (n1, n2) = (node_id(1), node_id(2));
    world.begin_move("db", "n2");
    while world.nodes[&n2].pool.holders().is_empty() {
        assert!(world.deliver(), "n2 never holds it");
    }
    // n1 is told nothing any more. Its container is stopped, its copy still marked as writable.
    world.kill_agent(n1);
    world.settle();
    world.kill_control();
    world.kill_agent(n2);
    world.nodes.get_mut(&n2).expect("a node").reboot();
    world.start_agent(n1);
    let volume = world.nodes[&n1].pool.holders()[0];
    let mut evidence = world.evidence(Some(world.stored()));
    evidence.preferred.insert(volume, n1);
    let newest = world.stored().volumes[&volume].epoch;
    let found = recover(&evidence).expect("the operator has said it");
    let record = &found.state.volumes[&volume];
    assert_eq!((record.holder, record.epoch), (n1, newest.next()));
    assert_eq!(record.head, None, "it goes on as it is");
    world.replace_store(found.state);
    world.settle();
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &NODES));
    assert_eq!(runs_on(&world, "db"), Some(1), "{}", world.log.join("\n"));
    assert_eq!(world.read("db"), vec![1]);
    // The other comes back, gives way, and moves work again.
    world.start_agent(n2);
    world.settle();
    world.pass_ms(60_000);
    for target in ["n2", "n3", "n1"] {
        world.begin_move("db", target);
        world.settle();
        assert_eq!(world.read("db"), vec![1], "moved to {target}");
    }
    assert_eq!(runs_on(&world, "db"), Some(1));
}

#[test]
fn two_holders_of_one_epoch_are_not_guessed() {
    let world = cluster();
    let mut evidence = world.evidence(None);
    let held =
        |copy: &&mut flocker_types::volume::VolumeCopy| copy.label.name.as_str() == "db-data";
    let node = evidence.nodes.get_mut(&node_id(1)).expect("it came");
    let copy = node
        .hello
        .volumes
        .iter_mut()
        .find(held)
        .expect("its replica");
    let volume = copy.label.id;
    copy.role = Role::Holder;
    copy.label.epoch = world.stored().volumes[&volume].epoch;
    let conflicts = recover(&evidence).expect_err("two holders");
    assert!(matches!(&conflicts[..], [Conflict::TwoHolders { nodes, .. }] if nodes.len() == 2));
    evidence.preferred.insert(volume, node_id(2));
    let found = recover(&evidence).expect("the operator has said it");
    assert_eq!(found.state.volumes[&volume].holder, node_id(2));
    assert_eq!(found.state.services[&service("db")].node, Some(node_id(2)));
}

#[test]
fn a_node_without_its_ledger_is_described_by_its_labels() {
    let world = cluster();
    let lost = world.stored();
    let mut evidence = world.evidence(None);
    let node: NodeId = node_id(3);
    let memory = &mut evidence.nodes.get_mut(&node).expect("it came").memory;
    memory.directives.clear();
    memory.stopped.clear();
    let found = recover(&evidence).expect("no conflict");
    let other = &found.state.services[&service("other")];
    assert_eq!(other.node, Some(node));
    assert_eq!(
        other.cluster_address,
        lost.services[&service("other")].cluster_address
    );
    assert!(other.directives[&node].generation > lost.meta.generation);
    // The same for one whose container is not as its label says: it is left alone.
    let memory = &mut evidence.nodes.get_mut(&node).expect("it came").memory;
    memory.containers[0].fingerprint.push('0');
    let found = recover(&evidence).expect("no conflict");
    assert!(!found.state.services.contains_key(&service("other")));
    let said = Unknown::Description(service("other"), "n3".to_owned());
    assert!(found.unknowns.contains(&said), "{:?}", found.unknowns);
}
