//! What can happen next in a state: the transitions of the model.

use crate::jobs;
use crate::scenario::{Fault, Scenario};
use crate::state::{End, Link, Node, State};
use flocker_core::agent::Job;
use flocker_types::link::ToAgent;

/// One step of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The operator asks for what comes next in the scenario.
    Ask,
    /// Control hears the next message of this link, or that it has ended.
    ToControl(usize),
    /// An agent hears the next message of this link, or that it has ended.
    ToAgent(usize),
    ToProxy(usize),
    FromProxy(usize),
    /// An agent's loop takes the next news of its own node.
    Tell(usize),
    /// A job's next stage.
    Job(usize, usize),
    /// The engine carries out a call that nobody waits for.
    Late(usize, usize),
    /// A stream arrives whole, or breaks because its sender is gone.
    Land(usize, usize),
    Break(usize, usize),
    /// A container answers at its port.
    Probe(usize, usize),
    /// The watcher looks whether a container that is said to have ended runs; then tells.
    News(usize, usize),
    StartControl,
    StartAgent(usize),
    Connect(usize),
    ConnectProxy(usize),
    /// Nothing is on its way: time passes until something happens.
    Wait,
    /// Time passes although something is on its way.
    Hurry,
    CrashControl(Mail, Back),
    CrashAgent(usize, Mail, Back),
    Reboot(usize),
    Cut(usize, Mail),
    FailJob(usize, usize),
    /// A call to the engine is reported as failed and is carried out later.
    DelayCall(usize, usize),
    ContainerEnds(usize),
}

/// What becomes of messages that are on their way when one end dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mail {
    Arrives,
    Lost,
}

/// When a process that died is started again. In between makes no difference that these do not: one
/// that runs and has not connected yet does nothing that one that is away does not do, but answer streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    AtOnce,
    /// When nothing else can happen any more; and time may pass before.
    AtRest,
}

const ENDS: [(Mail, Back); 4] = [
    (Mail::Arrives, Back::AtOnce),
    (Mail::Arrives, Back::AtRest),
    (Mail::Lost, Back::AtOnce),
    (Mail::Lost, Back::AtRest),
];
const MAILS: [Mail; 2] = [Mail::Arrives, Mail::Lost];

/// Everything that can happen in a state. Waiting is possible when nothing else is under way.
pub(crate) fn enabled(state: &State, scenario: &Scenario) -> Vec<Action> {
    let mut actions = Vec::new();
    if let Some(link) = state.links.iter().position(is_receipt) {
        // Concerns nobody but this agent, and leads to nothing: when it comes makes no difference to
        // anything but a fault that comes before it.
        actions.push(Action::ToAgent(link));
        if state.operates() {
            faults(state, scenario, &mut actions);
        }
        return actions;
    }
    let next = state.asked < scenario.requests.len();
    if next && state.control.is_some() && !state.operates() {
        actions.push(Action::Ask);
    }
    for (index, link) in state.links.iter().enumerate() {
        messages(state, index, link, &mut actions);
    }
    for (index, proxy) in state.proxies.iter().enumerate() {
        if !proxy.down.is_empty() {
            actions.push(Action::ToProxy(index));
        }
        if !proxy.up.is_empty() && state.control.is_some() {
            actions.push(Action::FromProxy(index));
        }
        if proxy.session.is_none() && proxy.down.is_empty() && state.control.is_some() {
            actions.push(Action::ConnectProxy(index));
        }
    }
    for (index, node) in state.nodes.iter().enumerate() {
        on_node(state, index, node, &mut actions);
        let linked = |link: &Link| link.node == index && link.at_agent == End::Open;
        let both = state.control.is_some() && node.agent.is_some();
        if both && !state.links.iter().any(linked) {
            actions.push(Action::Connect(index));
        }
    }
    let resting = actions.iter().all(|action| *action == Action::Ask);
    if resting && state.control.is_some() {
        actions.push(Action::Wait);
    }
    if resting && state.control.is_none() {
        actions.push(Action::StartControl);
    }
    for (index, node) in state.nodes.iter().enumerate() {
        if resting && node.agent.is_none() {
            actions.push(Action::StartAgent(index));
        }
    }
    if state.operates() {
        faults(state, scenario, &mut actions);
        if state.hurries < scenario.hurries && !resting && state.control.is_some() {
            actions.push(Action::Hurry);
        }
    }
    actions
}

/// Whether the next message to an agent is that its report has arrived.
fn is_receipt(link: &Link) -> bool {
    let next = link.down.front();
    link.at_agent == End::Open && next.is_some_and(|next| matches!(**next, ToAgent::Recorded(_)))
}

fn messages(state: &State, index: usize, link: &Link, actions: &mut Vec<Action>) {
    let ended = link.cut;
    if link.at_control == End::Open && state.control.is_some() && (ended || !link.up.is_empty()) {
        actions.push(Action::ToControl(index));
    }
    if link.at_agent == End::Open && (ended || !link.down.is_empty()) {
        actions.push(Action::ToAgent(index));
    }
}

fn on_node(state: &State, index: usize, node: &Node, actions: &mut Vec<Action>) {
    if !node.inbox.is_empty() {
        actions.push(Action::Tell(index));
    }
    let is_late = |job: &Job| {
        let late = node.late.iter().map(|late| jobs::about(late));
        jobs::about(job).is_some() && late.into_iter().any(|about| about == jobs::about(job))
    };
    for (number, work) in node.jobs.iter().enumerate() {
        let streams = state.nodes.iter().flat_map(|node| &node.receptions);
        let mut of_job = streams.filter(|stream| stream.is_of(index, work.id));
        let waits_for_stream = work.is_sending() && of_job.next().is_some();
        let waits_for_engine = jobs::engine_call(work).is_some() && is_late(&work.job);
        if !waits_for_engine && !waits_for_stream {
            actions.push(Action::Job(index, number));
        }
    }
    for number in 0..node.late.len() {
        actions.push(Action::Late(index, number));
    }
    for (number, stream) in node.receptions.iter().enumerate() {
        actions.push(Action::Land(index, number));
        if stream.job.is_none() {
            actions.push(Action::Break(index, number));
        }
    }
    for number in 0..node.probes.len() {
        actions.push(Action::Probe(index, number));
    }
    for number in 0..node.news.len() {
        actions.push(Action::News(index, number));
    }
}

fn faults(state: &State, scenario: &Scenario, actions: &mut Vec<Action>) {
    if state.faults >= scenario.faults_max {
        return;
    }
    for fault in scenario.faults {
        match fault {
            Fault::ControlDies if state.control.is_some() => {
                actions.extend(ENDS.map(|(mail, back)| Action::CrashControl(mail, back)));
            }
            Fault::ControlDies => {}
            of_node => {
                for (index, node) in state.nodes.iter().enumerate() {
                    if node.agent.is_some() {
                        fault_of_node(state, *of_node, index, node, actions);
                    }
                }
            }
        }
    }
}

fn fault_of_node(
    state: &State,
    fault: Fault,
    index: usize,
    node: &Node,
    actions: &mut Vec<Action>,
) {
    match fault {
        Fault::ControlDies => {}
        Fault::AgentDies => {
            actions.extend(ENDS.map(|(mail, back)| Action::CrashAgent(index, mail, back)));
        }
        Fault::NodeReboots => actions.push(Action::Reboot(index)),
        Fault::LinkBreaks => {
            let whole = |link: &Link| link.node == index && link.at_agent == End::Open && !link.cut;
            if state.links.iter().any(whole) {
                actions.extend(MAILS.map(|mail| Action::Cut(index, mail)));
            }
        }
        Fault::JobFails => {
            for (number, work) in node.jobs.iter().enumerate() {
                if !work.is_done() {
                    actions.push(Action::FailJob(index, number));
                }
            }
        }
        Fault::CallIsLate => {
            for (number, work) in node.jobs.iter().enumerate() {
                if jobs::engine_call(work).is_some() {
                    actions.push(Action::DelayCall(index, number));
                }
            }
        }
        Fault::ContainerEnds => {
            if node.engine.running().next().is_some() {
                actions.push(Action::ContainerEnds(index));
            }
        }
    }
}

impl State {
    /// Links that neither end knows any more are forgotten.
    pub(crate) fn forget_links(&mut self) {
        self.links
            .retain(|link| link.at_control == End::Open || link.at_agent == End::Open);
    }
}
