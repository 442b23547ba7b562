//! One step of the whole: the state after an action.

use crate::action::{Action, Back, Mail};
use crate::jobs;
use crate::machine::Machine;
use crate::pool::{Stored, passing};
use crate::property::Violation;
use crate::scenario::Scenario;
use crate::shared::Shared;
use crate::state::{End, Link, State};
use flocker_core::agent::{self, ContainerRunSeen, Event, Start};
use flocker_core::control::{self, Control, Session};
use flocker_types::ids::BootId;
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use flocker_types::time::Monotonic;
use std::net::Ipv4Addr;
use uuid::Uuid;

/// Waits in a row in which nothing happens, after which nothing ever will.
const IDLE_WAITS_MAX: u32 = 40;
/// How far time goes on when nobody waits for anything, in milliseconds: longer than chores are delayed.
const IDLE_MS: u64 = 60_000;

/// The state after an action; none when it changes nothing.
pub(crate) fn apply(
    machine: &mut Machine,
    scenario: &Scenario,
    before: &State,
    action: Action,
) -> Result<Option<State>, Violation> {
    let mut state = before.clone();
    match action {
        Action::Ask => {
            let request = &scenario.requests[state.asked];
            state.asked += 1;
            scenario.ask(machine, &mut state, request)?;
        }
        Action::ToControl(link) => to_control(machine, &mut state, link)?,
        Action::ToAgent(link) => to_agent(machine, &mut state, link)?,
        Action::ToProxy(proxy) => to_proxy(&mut state, proxy),
        Action::FromProxy(proxy) => {
            if let (Some(session), Some(message)) = (
                state.proxies[proxy].session,
                state.proxies[proxy].up.pop_front(),
            ) {
                let (session, message) = (Session(session), ProxyMessage::clone(&message));
                machine.control(
                    &mut state,
                    &control::Event::ProxyMessage { session, message },
                )?;
            }
        }
        Action::Wait => return wait(machine, state),
        Action::Hurry => {
            state.hurries += 1;
            let Some(due) = next_deadline(&state) else {
                return Ok(None);
            };
            state.clock_ms = due;
            tick(machine, &mut state)?;
        }
        Action::StartControl => start_control(machine, &mut state)?,
        Action::StartAgent(node) => start_agent(machine, &mut state, node)?,
        Action::Connect(node) => connect(machine, &mut state, node)?,
        Action::ConnectProxy(proxy) => connect_proxy(machine, &mut state, proxy)?,
        of_node => on_node(machine, &mut state, of_node)?,
    }
    Ok(Some(state))
}

fn on_node(machine: &mut Machine, state: &mut State, action: Action) -> Result<(), Violation> {
    match action {
        Action::Tell(node) => {
            if let Some(event) = state.nodes[node].inbox.pop_front() {
                machine.agent(state, node, &event)?;
            }
        }
        Action::Job(node, index) => jobs::advance(machine, state, node, index)?,
        Action::Late(node, index) => {
            let job = state.nodes[node].late.remove(index);
            drop(jobs::call(state, node, &job)?);
        }
        Action::Land(node, index) => jobs::land(machine, state, node, index)?,
        Action::Break(node, index) => drop(state.nodes[node].receptions.remove(index)),
        Action::Probe(node, index) => {
            let service = state.nodes[node].probes.remove(index);
            if state.nodes[node].engine.runs(&service) {
                machine.agent(state, node, &Event::Ready { service })?;
            }
        }
        Action::News(node, index) => news(machine, state, node, index)?,
        _ => fault(machine, state, action)?,
    }
    Ok(())
}

fn news(
    machine: &mut Machine,
    state: &mut State,
    node: usize,
    index: usize,
) -> Result<(), Violation> {
    let service = state.nodes[node].news.remove(index);
    if !state.nodes[node].engine.runs(&service) {
        machine.agent(state, node, &Event::Exited { service, code: 0 })?;
    }
    Ok(())
}

fn fault(machine: &mut Machine, state: &mut State, action: Action) -> Result<(), Violation> {
    state.faults += 1;
    match action {
        Action::CrashControl(mail, back) => {
            state.control = None;
            for link in &mut state.links {
                link.at_control = End::Gone;
                link.cut = true;
                link.up.clear();
                if mail == Mail::Lost {
                    link.down.clear();
                }
            }
            for proxy in &mut state.proxies {
                proxy.session = None;
                proxy.up.clear();
                if mail == Mail::Lost {
                    proxy.down.clear();
                }
            }
            if back == Back::AtOnce {
                start_control(machine, state)?;
            }
        }
        Action::CrashAgent(node, mail, back) => {
            crash_agent(state, node, mail)?;
            if back == Back::AtOnce {
                start_agent(machine, state, node)?;
            }
        }
        Action::Reboot(node) => {
            crash_agent(state, node, Mail::Lost)?;
            reboot(state, node);
        }
        Action::Cut(node, mail) => {
            if let Some(link) = state.link_of(node) {
                link.cut = true;
                if mail == Mail::Lost {
                    link.up.clear();
                    link.down.clear();
                }
            }
        }
        Action::FailJob(node, index) => {
            jobs::end(machine, state, node, index, Err(passing("it failed")))?;
        }
        Action::DelayCall(node, index) => {
            let job = state.nodes[node].jobs[index].job.clone();
            state.nodes[node].late.push(job);
            let failure = passing("the engine does not answer");
            jobs::end(machine, state, node, index, Err(failure))?;
        }
        Action::ContainerEnds(node) => {
            let running = state.nodes[node].engine.running().next();
            if let Some(service) = running.map(|(service, _)| service.clone()) {
                jobs::stop(state, node, &service, 1);
                if !state.news_are_late {
                    state.nodes[node].news.push(service);
                }
            }
        }
        _ => {}
    }
    state.forget_links();
    Ok(())
}

/// The process dies. Either everything that it had begun was never heard of; or the pool has done what it
/// was doing, the engine will, and what was sent arrives.
fn crash_agent(state: &mut State, node: usize, mail: Mail) -> Result<(), Violation> {
    let jobs = std::mem::take(&mut state.nodes[node].jobs);
    if mail == Mail::Arrives {
        jobs::finish_alone(state, node, &jobs)?;
    }
    let of_node = &mut state.nodes[node];
    of_node.agent = None;
    of_node.confirmed = false;
    of_node.inbox.clear();
    of_node.probes.clear();
    of_node.news.clear();
    of_node.receptions.clear();
    for other in &mut state.nodes {
        let streams = other.receptions.iter_mut();
        streams
            .filter(|stream| stream.from == node)
            .for_each(|stream| stream.job = None);
        if mail == Mail::Lost {
            other.receptions.retain(|stream| stream.from != node);
        }
    }
    for link in state.links.iter_mut().filter(|link| link.node == node) {
        link.at_agent = End::Gone;
        link.cut = true;
        link.down.clear();
        if mail == Mail::Lost {
            link.up.clear();
        }
    }
    Ok(())
}

fn reboot(state: &mut State, node: usize) {
    let of_node = &mut state.nodes[node];
    of_node.boot += 1;
    of_node.late.clear();
    let mut engine = crate::state::Engine::clone(&of_node.engine);
    for container in engine.containers.values_mut() {
        if container.run == ContainerRunSeen::Running {
            container.run = ContainerRunSeen::Exited { code: Some(137) };
        }
    }
    of_node.engine = Shared::new(engine);
}

fn to_control(machine: &mut Machine, state: &mut State, index: usize) -> Result<(), Violation> {
    let link = &mut state.links[index];
    let session = Session(link.session);
    let event = match link.up.pop_front() {
        None => {
            link.at_control = End::Gone;
            state.forget_links();
            control::Event::AgentLost { session }
        }
        Some(message) => match AgentMessage::clone(&message) {
            AgentMessage::Hello(hello) => control::Event::AgentConnected { session, hello },
            message => control::Event::AgentMessage { session, message },
        },
    };
    machine.control(state, &event)
}

fn to_agent(machine: &mut Machine, state: &mut State, index: usize) -> Result<(), Violation> {
    let link = &mut state.links[index];
    let node = link.node;
    let event = match link.down.pop_front() {
        None => {
            link.at_agent = End::Gone;
            state.forget_links();
            Event::LinkDown
        }
        Some(message) => {
            let message = ToAgent::clone(&message);
            if matches!(message, ToAgent::Welcome { .. } | ToAgent::Directive(_)) {
                state.nodes[node].confirmed = true;
            }
            Event::Control(message)
        }
    };
    machine.agent(state, node, &event)?;
    Ok(())
}

fn to_proxy(state: &mut State, index: usize) {
    let proxy = &mut state.proxies[index];
    let Some(message) = proxy.down.pop_front() else {
        return;
    };
    let mut table = flocker_core::route::RouteTable::clone(&proxy.table);
    let routes = match ToProxy::clone(&message) {
        ToProxy::Welcome { routes } => {
            drop(table.replace_all(routes.clone()));
            routes
        }
        ToProxy::Route(route) => {
            drop(table.apply(route.clone()));
            vec![route]
        }
        ToProxy::Gone { .. } | ToProxy::Access(_) | ToProxy::Heartbeat => Vec::new(),
    };
    if proxy.session.is_some() {
        for route in routes {
            let generation = table
                .route(&route.service)
                .map(|in_force| in_force.generation);
            proxy.up.push_back(Shared::new(ProxyMessage::Applied {
                service: route.service,
                generation: generation.unwrap_or_default(),
                held: 0,
            }));
        }
    }
    proxy.table = Shared::new(table);
}

fn start_control(machine: &mut Machine, state: &mut State) -> Result<(), Violation> {
    let records = state.store.values().cloned();
    let durable = flocker_core::cluster::State::from_records(records);
    let core = Control::new(durable.expect("there is a cluster"));
    state.control = Some(Shared::new(core));
    machine.control(state, &control::Event::Tick)
}

fn start_agent(machine: &mut Machine, state: &mut State, node: usize) -> Result<(), Violation> {
    let of_node = &mut state.nodes[node];
    let last = u8::try_from(node + 1).expect("few nodes");
    let hello = crate::scenario::hello(of_node.id, of_node.boot, Ipv4Addr::new(10, 0, 0, last));
    let start = Start {
        node: of_node.id,
        boot: BootId(Uuid::from_u128(u128::from(of_node.boot) + 1)),
        ledger: agent::Ledger::clone(&of_node.ledger),
        volumes: of_node.pool.volumes.values().map(Stored::copy).collect(),
        containers: of_node.engine.seen(),
        hello,
        container_network: crate::scenario::container_network(),
    };
    let running: Vec<_> = of_node.engine.running().map(|(s, _)| s.clone()).collect();
    of_node.probes = running;
    machine.start_agent(state, node, start)
}

fn connect(machine: &mut Machine, state: &mut State, node: usize) -> Result<(), Violation> {
    let session = state.next_session;
    state.next_session += 1;
    state.links.push(Link {
        node,
        session,
        up: Default::default(),
        down: Default::default(),
        cut: false,
        at_control: End::Open,
        at_agent: End::Open,
    });
    machine.agent(state, node, &Event::LinkUp)?;
    Ok(())
}

fn connect_proxy(machine: &mut Machine, state: &mut State, index: usize) -> Result<(), Violation> {
    let session = state.next_session;
    state.next_session += 1;
    state.proxies[index].session = Some(session);
    let last = u8::try_from(index + 1).expect("few nodes");
    let event = control::Event::ProxyConnected {
        session: Session(session),
        node: state.nodes[index].id,
        tunnel: (Ipv4Addr::new(10, 0, 0, last), 4525).into(),
    };
    machine.control(state, &event)
}

fn next_deadline(state: &State) -> Option<u64> {
    let of_control = state.control.as_ref().and_then(|core| core.next_deadline());
    let agents = state.nodes.iter().filter_map(|node| node.agent.as_ref());
    let of_agents = agents.filter_map(|core| core.next_deadline());
    of_control
        .into_iter()
        .chain(of_agents)
        .map(|Monotonic(at)| at.max(state.clock_ms + 1))
        .min()
}

fn tick(machine: &mut Machine, state: &mut State) -> Result<(), Violation> {
    machine.control(state, &control::Event::Tick)?;
    for node in 0..state.nodes.len() {
        machine.agent(state, node, &Event::Tick)?;
    }
    Ok(())
}

/// Time passes until something happens; none when nothing ever does.
fn wait(machine: &mut Machine, mut state: State) -> Result<Option<State>, Violation> {
    let store = state.store.clone();
    for _ in 0..IDLE_WAITS_MAX {
        let due = next_deadline(&state);
        state.clock_ms = due.unwrap_or(state.clock_ms + IDLE_MS);
        tick(machine, &mut state)?;
        if state.in_flight() > 0 || state.store != store {
            return Ok(Some(state));
        }
    }
    Ok(None)
}
