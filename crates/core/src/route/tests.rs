//! Tests of the route table: each rule by example, and its laws over random histories.

use super::{Decision, Effect, ListenerKey, Origin, Outcome, Problem, RouteTable, Target};
use flocker_types::ids::{Generation, NodeId, ServiceId};
use flocker_types::route::{Backend, Route, RoutePort, RouteState};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

fn node(number: u128) -> NodeId {
    serde_json::from_str(&format!("\"00000000-0000-0000-0000-{number:012}\"")).unwrap()
}

fn service(name: &str) -> ServiceId {
    name.parse().unwrap()
}

fn backend(number: u8) -> Backend {
    Backend {
        node: node(u128::from(number)),
        tunnel: SocketAddr::from(([192, 0, 2, number], 4525)),
        container: Ipv4Addr::new(172, 20, number, 2),
    }
}

fn route(name: &str, generation: u64, ports: &[(u16, Option<u16>)], state: RouteState) -> Route {
    let last = name.bytes().map(u32::from).sum::<u32>() % 250;
    Route {
        service: service(name),
        generation: Generation(generation),
        cluster_address: Ipv4Addr::from(0x0A60_0000 + last),
        ports: ports
            .iter()
            .map(|&(internal, external)| RoutePort { internal, external })
            .collect(),
        state,
    }
}

fn serving(number: u8) -> RouteState {
    RouteState::Serving(backend(number))
}

#[test]
fn a_new_route_opens_its_address_and_listeners_in_order() {
    let mut table = RouteTable::new(node(1));
    let db = route("db", 5, &[(5432, Some(15432))], serving(1));
    let at = db.cluster_address;
    let to = Target {
        service: service("db"),
        internal_port: 5432,
    };
    let change = table.apply(db);
    assert_eq!(change.outcome, Outcome::Applied);
    assert_eq!(
        change.effects,
        vec![
            Effect::WakeHeld(service("db")),
            Effect::AddAddress(at),
            Effect::Open(ListenerKey::External(15432), to.clone()),
            Effect::Open(ListenerKey::Cluster(at, 5432), to.clone()),
            Effect::Open(ListenerKey::Cluster(at, 15432), to),
            Effect::CloseRelays {
                service: service("db"),
                keep: Some(backend(1)),
            },
        ]
    );
}

#[test]
fn at_the_cluster_address_an_internal_port_wins_over_an_external_one() {
    let mut table = RouteTable::new(node(1));
    let web = route("web", 1, &[(80, Some(8080)), (8080, Some(80))], serving(1));
    let at = web.cluster_address;
    let _ = table.apply(web);
    let listeners = table.listeners();
    assert_eq!(listeners[&ListenerKey::Cluster(at, 80)].internal_port, 80);
    assert_eq!(
        listeners[&ListenerKey::Cluster(at, 8080)].internal_port,
        8080
    );
    assert_eq!(listeners[&ListenerKey::External(8080)].internal_port, 80);
    assert_eq!(listeners.len(), 4);
}

#[test]
fn a_hold_and_its_release_touch_no_listener() {
    let mut table = RouteTable::new(node(1));
    let ports = [(6379, Some(6379))];
    let _ = table.apply(route("redis", 1, &ports, serving(1)));
    let held = table.apply(route(
        "redis",
        2,
        &ports,
        RouteState::Held { limit_ms: 700 },
    ));
    assert_eq!(held.effects, vec![Effect::WakeHeld(service("redis"))]);
    assert_eq!(
        table.decide(&service("redis"), 6379, Origin::Client),
        Decision::Hold { limit_ms: 700 }
    );
    let released = table.apply(route("redis", 3, &ports, serving(2)));
    assert_eq!(
        released.effects,
        vec![
            Effect::WakeHeld(service("redis")),
            Effect::CloseRelays {
                service: service("redis"),
                keep: Some(backend(2)),
            },
        ]
    );
}

#[test]
fn decisions_follow_the_route_and_a_tunnelled_connection_never_goes_on() {
    let mut table = RouteTable::new(node(1));
    let db = service("db");
    assert_eq!(table.decide(&db, 80, Origin::Client), Decision::Refuse);
    let _ = table.apply(route("db", 1, &[(80, None)], serving(1)));
    for origin in [Origin::Client, Origin::Tunnel] {
        assert_eq!(
            table.decide(&db, 80, origin),
            Decision::Local(SocketAddr::from(([172, 20, 1, 2], 80)))
        );
        assert_eq!(table.decide(&db, 81, origin), Decision::Refuse);
    }
    let _ = table.apply(route("db", 2, &[(80, None)], serving(2)));
    assert_eq!(
        table.decide(&db, 80, Origin::Client),
        Decision::Tunnel {
            node: node(2),
            address: backend(2).tunnel,
        }
    );
    assert_eq!(table.decide(&db, 80, Origin::Tunnel), Decision::Refuse);
    let _ = table.apply(route("db", 3, &[(80, None)], RouteState::Down));
    assert_eq!(table.decide(&db, 80, Origin::Client), Decision::Refuse);
}

#[test]
fn older_messages_change_nothing_and_say_so() {
    let mut table = RouteTable::new(node(1));
    let _ = table.apply(route("db", 7, &[(80, None)], serving(1)));
    let stale = Outcome::Stale {
        accepted_from: Generation(7),
    };
    let old = table.apply(route("db", 6, &[(81, None)], RouteState::Down));
    assert_eq!((old.outcome, old.effects.len()), (stale, 0));
    let old = table.gone(&service("db"), Generation(6));
    assert_eq!((old.outcome, old.effects.len()), (stale, 0));
    let again = table.apply(route("db", 7, &[(80, None)], serving(1)));
    assert_eq!((again.outcome, again.effects.len()), (Outcome::Applied, 0));
}

#[test]
fn a_gone_service_does_not_come_back_by_an_older_route() {
    let mut table = RouteTable::new(node(1));
    let db = route("db", 7, &[(80, None)], serving(1));
    let at = db.cluster_address;
    let _ = table.apply(db.clone());
    assert_eq!(
        table.gone(&service("db"), Generation(8)).effects,
        vec![
            Effect::WakeHeld(service("db")),
            Effect::Close(ListenerKey::Cluster(at, 80)),
            Effect::RemoveAddress(at),
            Effect::CloseRelays {
                service: service("db"),
                keep: None,
            },
        ]
    );
    let stale = Outcome::Stale {
        accepted_from: Generation(9),
    };
    assert_eq!(table.apply(db.clone()).outcome, stale);
    let newer = Route {
        generation: Generation(9),
        ..db
    };
    assert_eq!(table.apply(newer).outcome, Outcome::Applied);
}

#[test]
fn the_first_to_want_a_port_keeps_it_even_when_it_moves_later() {
    let mut table = RouteTable::new(node(1));
    let port = [(80, Some(80))];
    let _ = table.apply(route("a", 1, &port, serving(1)));
    let _ = table.apply(route("b", 2, &port, serving(1)));
    let _ = table.apply(route("a", 3, &port, serving(2)));
    let key = ListenerKey::External(80);
    assert_eq!(table.owner(key).unwrap().service, service("a"));
    assert_eq!(
        table.problems(&service("b")),
        vec![Problem::Taken {
            key,
            owner: service("a"),
        }]
    );
    assert!(table.problems(&service("a")).is_empty());
    let effects = table.gone(&service("a"), Generation(4)).effects;
    let to_b = Target {
        service: service("b"),
        internal_port: 80,
    };
    assert!(effects.contains(&Effect::Retarget(key, to_b)));
    assert!(table.problems(&service("b")).is_empty());
}

#[test]
fn a_full_set_removes_what_it_does_not_name_and_ignores_what_is_old_in_it() {
    let mut table = RouteTable::new(node(1));
    let _ = table.apply(route("a", 5, &[(80, Some(80))], serving(1)));
    let _ = table.apply(route("b", 6, &[(81, Some(81))], serving(1)));
    let effects = table.replace_all(vec![
        route("b", 4, &[(90, None)], serving(2)),
        route("c", 7, &[(80, Some(80))], serving(2)),
    ]);
    assert!(table.route(&service("a")).is_none());
    assert_eq!(
        table.route(&service("b")).unwrap().generation,
        Generation(6)
    );
    let taken_over = |effect: &Effect| matches!(effect, Effect::Retarget(ListenerKey::External(80), to) if to.service == service("c"));
    assert!(effects.iter().any(taken_over));
}

#[test]
fn port_zero_is_reported_and_never_listened_on() {
    let mut table = RouteTable::new(node(1));
    let _ = table.apply(route("a", 1, &[(0, Some(80)), (81, Some(0))], serving(1)));
    assert_eq!(table.problems(&service("a")), vec![Problem::PortZero]);
    assert!(table.listeners().keys().all(|key| key.port() == 81));
}

#[derive(Debug, Clone)]
enum Message {
    Apply(Route),
    Gone(ServiceId, Generation),
    ReplaceAll(Vec<Route>),
}

fn any_state() -> impl Strategy<Value = RouteState> {
    prop_oneof![
        (1u8..4).prop_map(serving),
        (1u64..1000).prop_map(|limit_ms| RouteState::Held { limit_ms }),
        Just(RouteState::Down),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let ports = prop::collection::vec((0u16..5, prop::option::of(0u16..5)), 0..4);
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    (name, 0u64..30, ports, any_state(), 0u32..5).prop_map(
        |(name, generation, ports, state, at)| Route {
            cluster_address: Ipv4Addr::from(0x0A60_0000 + at),
            ..route(name, generation, &ports, state)
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        6 => any_route().prop_map(Message::Apply),
        2 => (prop::sample::select(vec!["a", "b", "c", "d"]), 0u64..30)
            .prop_map(|(name, generation)| Message::Gone(service(name), Generation(generation))),
        1 => prop::collection::vec(any_route(), 0..4).prop_map(Message::ReplaceAll),
    ]
}

/// A proxy that only does what effects tell it.
#[derive(Default)]
struct Shell {
    open: BTreeMap<ListenerKey, Target>,
    addresses: BTreeSet<Ipv4Addr>,
}

impl Shell {
    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open(key, target) => {
                    if let ListenerKey::Cluster(address, _) = key {
                        assert!(self.addresses.contains(&address), "no address for {key}");
                    }
                    assert_eq!(self.open.insert(key, target), None, "{key} opened twice");
                }
                Effect::Retarget(key, target) => {
                    let was = self.open.insert(key, target);
                    assert!(was.is_some(), "{key} was not open");
                }
                Effect::Close(key) => assert!(self.open.remove(&key).is_some()),
                Effect::AddAddress(address) => assert!(self.addresses.insert(address)),
                Effect::RemoveAddress(address) => {
                    assert!(self.addresses.remove(&address));
                    let used = |key: &ListenerKey| matches!(key, ListenerKey::Cluster(at, _) if *at == address);
                    assert!(!self.open.keys().any(used), "{address} still has listeners");
                }
                Effect::WakeHeld(_) | Effect::CloseRelays { .. } => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn effects_add_up_to_what_the_table_says(messages in prop::collection::vec(any_message(), 0..60)) {
        let mut table = RouteTable::new(node(1));
        let mut shell = Shell::default();
        for message in messages {
            let before = table.clone();
            let effects = match message {
                Message::Apply(route) => table.apply(route).effects,
                Message::Gone(service, generation) => table.gone(&service, generation).effects,
                Message::ReplaceAll(routes) => table.replace_all(routes),
            };
            shell.carry_out(effects);
            prop_assert_eq!(&shell.open, &table.listeners());
            prop_assert_eq!(&shell.addresses, &table.addresses());
            for route in table.routes() {
                let old = before.route(&route.service).map(|old| old.generation);
                prop_assert!(old.is_none_or(|old| old <= route.generation));
                for port in 0..5 {
                    let decision = table.decide(&route.service, port, Origin::Tunnel);
                    let travels = matches!(decision, Decision::Tunnel { .. });
                    prop_assert!(!travels, "a tunnelled connection would travel on");
                }
            }
        }
    }

    #[test]
    fn the_newest_message_wins_in_whatever_order_they_arrive(
        routes in prop::collection::vec(any_route(), 1..20),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let unique: BTreeMap<(ServiceId, Generation), Route> = routes
            .into_iter()
            .map(|route| ((route.service.clone(), route.generation), route))
            .collect();
        let mut ordered: Vec<Route> = unique.into_values().collect();
        ordered.sort_by_key(|route| route.generation);
        let mut other = ordered.clone();
        other.rotate_left(shuffle.index(ordered.len()));
        other.reverse();
        let settle = |routes: Vec<Route>| {
            let mut table = RouteTable::new(node(1));
            for route in routes {
                let _ = table.apply(route);
            }
            table.routes().map(|route| Route::clone(route)).collect::<Vec<_>>()
        };
        prop_assert_eq!(settle(ordered), settle(other));
    }
}
