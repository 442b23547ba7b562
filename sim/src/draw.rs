//! From a seed to a scenario. Each run draws first which kinds of faults it has at all, so that some
//! runs are calm, some see one kind of trouble many times, and some see everything.

use crate::engine::RuntimeCall;
use crate::pool::StorageCall;
use crate::rng::Rng;
use crate::scenario::{
    Action, Checked, Containers, Fault, Order, Place, Plan, Role, Scenario, Timed, Wish,
};
use flocker_types::app::RestartPolicy;

/// Kinds of faults that a run may have.
const FAMILIES: u64 = 10;
const STORAGE_CALLS: [StorageCall; 8] = [
    StorageCall::Create,
    StorageCall::Snapshot,
    StorageCall::Send,
    StorageCall::Receive,
    StorageCall::Promote,
    StorageCall::Demote,
    StorageCall::Prune,
    StorageCall::Destroy,
];
const RUNTIME_CALLS: [RuntimeCall; 4] = [
    RuntimeCall::Create,
    RuntimeCall::Start,
    RuntimeCall::Stop,
    RuntimeCall::Remove,
];

/// The scenario of a seed.
pub fn draw(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let nodes = u8::try_from(rng.between(3, 5)).unwrap_or(3);
    let count = rng.between(1, 4);
    let services = (0..count).map(|number| service(&mut rng, number)).collect();
    let latency_us = match rng.below(4) {
        0 => (200, 1_000),
        1 => (100, 20_000),
        2 => (1_000, 5_000),
        _ => (10_000, 80_000),
    };
    let lasts_ms = rng.between(30_000, 150_000);
    let mut scenario = Scenario {
        seed,
        nodes,
        services,
        latency_us,
        store_us: (500, 6_000),
        rebellious_proxies: rng.chance(40),
        clients_us: (100_000, 1_200_000),
        actions: Vec::new(),
        faults_end_ms: lasts_ms,
    };
    let mut actions = vec![Timed {
        at_ms: 2_500,
        lasts_ms: 0,
        action: Action::Order(Order::Deploy(everything(&mut rng, &scenario))),
    }];
    for _ in 0..rng.between(3, 14) {
        let order = order(&mut rng, &scenario);
        let at_ms = rng.between(4_000, lasts_ms);
        actions.push(Timed {
            at_ms,
            lasts_ms: 0,
            action: Action::Order(order),
        });
    }
    faults(&mut rng, &scenario, &mut actions);
    actions.sort_by_key(|timed| timed.at_ms);
    scenario.actions = actions;
    scenario
}

fn service(rng: &mut Rng, number: u64) -> Plan {
    let restart = match rng.below(4) {
        0 => RestartPolicy::Never,
        1 => RestartPolicy::OnFailure {
            retries_max: rng.chance(500).then_some(3),
        },
        _ => RestartPolicy::Always,
    };
    let needs = (number > 0 && rng.chance(200)).then_some(0);
    Plan {
        name: format!("s{number}"),
        port: 5_001 + u16::try_from(number).unwrap_or(0),
        volumes: u8::try_from([0, 1, 1, 1, 2][rng.index(5)]).unwrap_or(1),
        restart,
        checked: if rng.chance(300) {
            Checked::ByHealth
        } else {
            Checked::ByPort
        },
        needs,
        stop_grace_ms: [500, 2_000, 10_000][rng.index(3)],
    }
}

fn node(rng: &mut Rng, scenario: &Scenario) -> u8 {
    u8::try_from(rng.between(1, u64::from(scenario.nodes))).unwrap_or(1)
}

fn everything(rng: &mut Rng, scenario: &Scenario) -> Vec<Wish> {
    (0..scenario.services.len())
        .map(|service| Wish::new(service, node(rng, scenario)))
        .collect()
}

fn order(rng: &mut Rng, scenario: &Scenario) -> Order {
    let service = rng.index(scenario.services.len());
    match rng.below(100) {
        0..34 => Order::Move(service, node(rng, scenario)),
        34..48 => {
            let variant = u8::try_from(rng.below(16)).unwrap_or(0);
            Order::Deploy(vec![Wish {
                service,
                node: node(rng, scenario),
                variant,
            }])
        }
        48..60 => Order::Deploy(everything(rng, scenario)),
        60..66 => Order::Swap(service, rng.index(scenario.services.len())),
        66..73 => Order::Drain(node(rng, scenario)),
        73..82 => Order::Remove(service),
        82..87 => Order::RemoveVolumes(service, [0, 1_000, 20_000, 60_000][rng.index(4)]),
        87..90 => Order::RestoreVolumes(service),
        90..93 => Order::Join,
        93..97 => Order::Status,
        _ => Order::Logs(service),
    }
}

fn faults(rng: &mut Rng, scenario: &Scenario, actions: &mut Vec<Timed>) {
    if rng.chance(80) {
        // A calm run, in which everything has to succeed.
        return;
    }
    let chosen: Vec<u64> = (0..FAMILIES).filter(|_| rng.chance(400)).collect();
    let chosen = if chosen.is_empty() {
        vec![rng.below(FAMILIES)]
    } else {
        chosen
    };
    let orders: Vec<u64> = actions.iter().map(|timed| timed.at_ms).collect();
    for _ in 0..rng.between(1, 14) {
        let family = chosen[rng.index(chosen.len())];
        let fault = fault(rng, scenario, family);
        // Half of them come while somebody's order is being carried out.
        let at_ms = if rng.chance(500) {
            let begins = orders[rng.index(orders.len())];
            (begins + rng.between(0, 6_000)).min(scenario.faults_end_ms)
        } else {
            rng.between(2_000, scenario.faults_end_ms)
        };
        let lasts_ms = match rng.below(8) {
            0 => rng.between(1, 300),
            1..4 => rng.between(200, 6_000),
            4..7 => rng.between(2_000, 40_000),
            _ => rng.between(20_000, 130_000),
        };
        actions.push(Timed {
            at_ms,
            lasts_ms,
            action: Action::Fault(fault),
        });
    }
}

fn role(rng: &mut Rng, scenario: &Scenario) -> Role {
    match rng.below(6) {
        0 | 1 => Role::Control,
        2 => Role::Proxy(node(rng, scenario)),
        _ => Role::Agent(node(rng, scenario)),
    }
}

fn place(rng: &mut Rng, scenario: &Scenario) -> Place {
    match rng.below(8) {
        0 => Place::Outside,
        1 | 2 => Place::Control,
        _ => Place::Node(node(rng, scenario)),
    }
}

fn fault(rng: &mut Rng, scenario: &Scenario, family: u64) -> Fault {
    let here = node(rng, scenario);
    let times = u32::try_from(rng.between(1, 5)).unwrap_or(1);
    match family {
        0 => Fault::Kill(role(rng, scenario)),
        1 => Fault::Pause(role(rng, scenario)),
        2 => Fault::PowerLoss(here),
        3 => match rng.below(4) {
            0 => Fault::CutOneWay(place(rng, scenario), place(rng, scenario)),
            1 | 2 => Fault::Cut(place(rng, scenario), place(rng, scenario)),
            _ => Fault::Isolate(place(rng, scenario)),
        },
        4 => match rng.below(4) {
            0 => Fault::Slow(
                place(rng, scenario),
                place(rng, scenario),
                rng.between(20, 3_000),
            ),
            1 => Fault::DamageStreams(here, times),
            _ => Fault::CutStreams(here, times),
        },
        5 => match rng.below(6) {
            0 => Fault::SlowDisk(here, rng.between(3, 200)),
            1 => Fault::FullPool(here),
            2 => Fault::FullDisk(here),
            _ => {
                let call = STORAGE_CALLS[rng.index(STORAGE_CALLS.len())];
                Fault::StorageFails(here, call, times)
            }
        },
        6 => match rng.below(4) {
            0 => Fault::RuntimeFails(here, RUNTIME_CALLS[rng.index(4)], times),
            1 => Fault::RuntimeHangs(here, RUNTIME_CALLS[rng.index(4)]),
            2 => Fault::EngineDown(here, Containers::Die),
            _ => Fault::EngineDown(here, Containers::Live),
        },
        7 => {
            let service = rng.index(scenario.services.len());
            match rng.below(6) {
                0 => Fault::Unhealthy(service),
                1 => Fault::ImagesGone(here),
                2 => Fault::RegistryDown,
                _ => Fault::Exit(service, [0, 1, 137][rng.index(3)]),
            }
        }
        8 => Fault::Echo(here, times),
        _ => match rng.below(4) {
            0 => Fault::StoreFails(times.min(2)),
            1 => {
                let by = i64::try_from(rng.between(1_000, 400_000)).unwrap_or(0);
                let by = if rng.chance(500) { by } else { -by };
                Fault::WallClock(place(rng, scenario), by)
            }
            _ => Fault::SlowStore(rng.between(20, 8_000)),
        },
    }
}
