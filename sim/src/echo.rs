//! Echoes: words of long ago that are heard again. One TCP stream brings none; agents and proxies have to
//! reject them all the same (invariant *stale-rejected*), whatever carried them.
//!
//! Only what is really old is said again, and only where something newer has just been heard: that is
//! where a mistake would do harm.

use crate::event::What;
use crate::network::Wire;
use crate::node::Node;
use crate::reception::Offer;
use crate::scenario::{Action, Fault, Scenario};
use crate::world::World;
use flocker_core::agent::Event;
use flocker_core::control::Session;
use flocker_types::ids::{NodeId, VolumeId};
use flocker_types::link::{AgentMessage, ToAgent, ToProxy};
use flocker_types::route::Route;
use flocker_types::task::{Directive, Task, Want, Work};
use std::collections::VecDeque;

/// Words that are remembered of each kind.
const REMEMBERED_MAX: usize = 16;

/// What was said to a node.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    /// There will be echoes in this run.
    listens: bool,
    /// So many are still to come.
    pub(crate) due: u32,
    directives: VecDeque<Directive>,
    routes: VecDeque<Route>,
    demotions: VecDeque<Task>,
    offers: VecDeque<Offer>,
    /// What the agent said last of something that it has done, and on which connection.
    report: Option<(Session, AgentMessage)>,
}

fn keep<T>(words: &mut VecDeque<T>, word: T) {
    words.push_back(word);
    if words.len() > REMEMBERED_MAX {
        words.pop_front();
    }
}

impl Echoes {
    pub(crate) fn new(scenario: &Scenario, number: u8) -> Self {
        let of_it = |fault: &Fault| matches!(fault, Fault::Echo(node, _) if *node == number);
        let listens = scenario
            .actions
            .iter()
            .any(|timed| matches!(&timed.action, Action::Fault(fault) if of_it(fault)));
        Self {
            listens,
            ..Self::default()
        }
    }

    pub(crate) fn hear(&mut self, wire: &Wire) {
        if !self.listens {
            return;
        }
        match wire {
            Wire::ToAgent(ToAgent::Directive(directive)) => {
                keep(&mut self.directives, directive.clone());
            }
            Wire::ToAgent(ToAgent::Welcome { directives }) => {
                directives
                    .iter()
                    .for_each(|directive| keep(&mut self.directives, directive.clone()));
            }
            Wire::ToAgent(ToAgent::Task(task)) if matches!(task.work, Work::Demote { .. }) => {
                keep(&mut self.demotions, task.clone());
            }
            Wire::ToProxy(ToProxy::Route(route)) => keep(&mut self.routes, route.clone()),
            _ => {}
        }
    }

    /// The agent says something to control. After a report comes the one before once more, and with the
    /// hello of a new connection what was still on its way on the old one.
    pub(crate) fn said(
        &mut self,
        session: Option<Session>,
        wire: &Wire,
    ) -> Option<(Session, AgentMessage)> {
        match (wire, session) {
            (Wire::Agent(AgentMessage::Hello(_)), None) => self.report.take(),
            (Wire::Agent(message @ AgentMessage::Task(_)), Some(session)) if self.listens => {
                let before = self.report.replace((session, message.clone()));
                before.map(|(_, report)| (session, report))
            }
            _ => None,
        }
    }

    pub(crate) fn hear_offer(&mut self, offer: &Offer) {
        if self.listens {
            keep(&mut self.offers, offer.clone());
        }
    }
}

/// Whether a node's durable ledger has it run a service on this volume.
pub(crate) fn runs_on(node: &Node, volume: VolumeId) -> bool {
    let mut directives = node.ledger.directives.values();
    directives.any(|directive| match &directive.want {
        Want::Run { volumes, .. } => volumes.iter().any(|claim| claim.label.id == volume),
        Want::Stopped | Want::Absent => false,
    })
}

impl World {
    /// A node has just heard something new.
    pub(crate) fn may_echo(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.echoes.due > 0 && node.rng.chance(700) {
            node.echoes.due -= 1;
            let wait = node.rng.between(1, 60_000);
            self.after(wait, What::Echo(id));
        }
    }

    /// What it heard long ago comes again.
    pub(crate) fn echo(&mut self, id: NodeId) {
        let kind = self.node_mut(id).rng.below(4);
        let now = self.now_us;
        self.trace.note(30, kind, now);
        match kind {
            0 => self.echo_directive(id),
            1 => self.echo_route(id),
            2 => self.echo_demotion(id),
            _ => self.echo_stream(id),
        }
    }

    fn echo_directive(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let old = |directive: &&Directive| {
            let present = node.ledger.directives.get(&directive.service);
            present.is_some_and(|present| present.generation > directive.generation)
        };
        let found = node.echoes.directives.iter().rev().find(old).cloned();
        if let Some(directive) = found.filter(|_| node.agent.confirmed) {
            self.trace.say(self.now_us, || {
                format!("an old directive for {} is heard again", directive.service)
            });
            self.agent_event(id, Event::Control(ToAgent::Directive(directive)));
        }
    }

    fn echo_route(&mut self, id: NodeId) {
        let proxy = &self.nodes[&id].proxy;
        let (Some(table), Some(link)) = (&proxy.table, proxy.link) else {
            return;
        };
        let old = |route: &&Route| {
            let present = table.route(&route.service);
            present.is_some_and(|present| present.generation > route.generation)
        };
        let found = self.nodes[&id]
            .echoes
            .routes
            .iter()
            .rev()
            .find(old)
            .cloned();
        if let Some(route) = found {
            self.trace.say(self.now_us, || {
                format!("an old route of {} is heard again", route.service)
            });
            self.proxy_hears(id, link, Wire::ToProxy(ToProxy::Route(route)));
        }
    }

    fn echo_demotion(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let old = |task: &&Task| match &task.work {
            Work::Demote { volume, .. } => runs_on(node, *volume),
            _ => false,
        };
        let found = node.echoes.demotions.iter().rev().find(old).cloned();
        if let Some(task) = found.filter(|_| node.agent.confirmed) {
            self.trace
                .say(self.now_us, || "an old demotion is heard again".to_owned());
            self.agent_event(id, Event::Control(ToAgent::Task(task)));
        }
    }

    fn echo_stream(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let old = |offer: &&Offer| {
            let grant = node.ledger.grants.get(&offer.volume);
            let granted = grant
                .is_some_and(|grant| grant.source == offer.source && grant.epoch == offer.epoch);
            !granted || runs_on(node, offer.volume)
        };
        // The same sender's, of an earlier epoch, before any other.
        let earlier = |offer: &&Offer| {
            let grant = node.ledger.grants.get(&offer.volume);
            grant.is_some_and(|grant| grant.source == offer.source && grant.epoch != offer.epoch)
        };
        let mut offers = node.echoes.offers.iter().rev();
        let found = offers.clone().find(earlier).or_else(|| offers.find(old));
        if let Some(offer) = found.cloned() {
            self.trace
                .say(self.now_us, || "an old stream is offered again".to_owned());
            self.receive(id, offer);
        }
    }
}
