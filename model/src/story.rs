//! A step, told to a person.

use crate::action::{Action, Back, Mail};
use crate::state::{Link, State};
use std::fmt::Debug;

/// Longest text of a message, in characters.
const TEXT_CHARS_MAX: usize = 150;

fn short(value: impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

fn back(back: Back) -> &'static str {
    match back {
        Back::AtOnce => "it starts again at once",
        Back::AtRest => "it stays away for now",
    }
}

fn mail(mail: Mail) -> &'static str {
    match mail {
        Mail::Arrives => "what was on its way arrives",
        Mail::Lost => "what was on its way is lost",
    }
}

fn heard<T: Debug>(message: Option<&T>) -> String {
    message.map_or_else(|| "the connection has ended".to_owned(), short)
}

/// An action in the state in which it happens.
pub(crate) fn tell(state: &State, action: Action) -> String {
    let of = |link: usize| -> (&Link, usize) { (&state.links[link], state.links[link].node + 1) };
    match action {
        Action::Ask => format!("the operator makes request {}", state.asked + 1),
        Action::ToControl(link) => {
            let (link, node) = of(link);
            format!("control hears of n{node}: {}", heard(link.up.front()))
        }
        Action::ToAgent(link) => {
            let (link, node) = of(link);
            format!("n{node} hears of control: {}", heard(link.down.front()))
        }
        Action::ToProxy(proxy) => format!("the proxy of n{} hears a route", proxy + 1),
        Action::FromProxy(proxy) => format!("control hears the proxy of n{}", proxy + 1),
        Action::Wait => "nothing is on its way; time passes".to_owned(),
        Action::Hurry => "time passes up to the next limit".to_owned(),
        Action::StartControl => "control starts".to_owned(),
        Action::StartAgent(node) => format!("the agent of n{} starts", node + 1),
        Action::Connect(node) => format!("the agent of n{} connects", node + 1),
        Action::ConnectProxy(node) => format!("the proxy of n{} connects", node + 1),
        Action::CrashControl(how, when) => {
            format!("CONTROL DIES; {}; {}", mail(how), back(when))
        }
        other => on_node(state, other),
    }
}

fn on_node(state: &State, action: Action) -> String {
    match action {
        Action::Tell(node) => {
            let event = state.nodes[node].inbox.front();
            format!("n{} is told {}", node + 1, heard(event))
        }
        Action::Job(node, index) => {
            let work = &state.nodes[node].jobs[index];
            format!("on n{}, {:?}: {}", node + 1, work.stage, short(&work.job))
        }
        Action::Late(node, index) => {
            let job = &state.nodes[node].late[index];
            format!("on n{}, late: {}", node + 1, short(job))
        }
        Action::Land(node, index) => {
            let name = &state.nodes[node].receptions[index].copy.snapshot;
            format!("{name} has arrived on n{}", node + 1)
        }
        Action::Break(node, _) => format!("a stream to n{} breaks", node + 1),
        Action::Probe(node, _) => format!("the container on n{} is ready", node + 1),
        Action::News(node, _) => format!("n{} looks after a container that has ended", node + 1),
        Action::CrashAgent(node, how, when) => {
            let number = node + 1;
            format!("THE AGENT OF n{number} DIES; {}; {}", mail(how), back(when))
        }
        Action::Reboot(node) => format!("n{} REBOOTS", node + 1),
        Action::Cut(node, how) => format!("THE LINK OF n{} BREAKS; {}", node + 1, mail(how)),
        Action::FailJob(node, index) => {
            let job = &state.nodes[node].jobs[index].job;
            format!("on n{}, FAILED: {}", node + 1, short(job))
        }
        Action::DelayCall(node, index) => {
            let job = &state.nodes[node].jobs[index].job;
            format!("on n{}, THE ENGINE IS LATE: {}", node + 1, short(job))
        }
        Action::ContainerEnds(node) => format!("THE CONTAINER ON n{} ENDS", node + 1),
        other => format!("{other:?}"),
    }
}
