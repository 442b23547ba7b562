//! Steps the cores, and puts what follows from a step on its way.
//!
//! A core in the same state that hears the same at the same time does the same: every such step is made
//! once and remembered.

use crate::check;
use crate::property::{Property, Violation, broken};
use crate::shared::{Print, Shared, print};
use crate::state::{End, Stage, State, Store, Work};
use flocker_core::agent::{self, Agent, Job, JobId, Ledger};
use flocker_core::cluster::Change;
use flocker_core::control::{self, Control, RequestId, Response, Session};
use flocker_types::api::ApiError;
use flocker_types::link::{AgentMessage, ToAgent, ToProxy};
use flocker_types::task::Failure;
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::VolumeLabel;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What a step of control leads to.
struct ControlStep {
    core: Shared<Control>,
    changes: Vec<Change>,
    changes_print: Print,
    sent: Vec<Sent>,
}

enum Sent {
    Agent(u64, Shared<ToAgent>),
    Proxy(u64, Shared<ToProxy>),
    Close(u64),
    Reply(RequestId, Box<Result<Response, ApiError>>),
}

/// What a step of an agent leads to.
pub(crate) struct AgentStep {
    core: Shared<Agent>,
    ledger: Option<Shared<Ledger>>,
    done: Vec<Done>,
}

pub(crate) enum Done {
    Send(Shared<AgentMessage>),
    Begin(JobId, Shared<Job>),
    Cancel(JobId),
    Admit(Result<Shared<VolumeLabel>, Failure>),
}

/// The steps made so far.
#[derive(Default)]
pub(crate) struct Machine {
    control: HashMap<(Print, u64, Print), Rc<ControlStep>>,
    agents: HashMap<(Print, u64, Print), Rc<AgentStep>>,
    stores: HashMap<(Print, Print), Shared<Store>>,
    /// Answers to requests, which only the making of a scenario looks at.
    pub(crate) replies: Vec<(RequestId, Result<Response, ApiError>)>,
}

pub(crate) fn now(clock_ms: u64) -> Now {
    Now {
        monotonic: Monotonic(clock_ms),
        // Dates are for people: none is compared in what the scenarios do.
        wall: UnixMs(1),
    }
}

/// Runs a step of a core; its assertions are violations.
fn guarded<T>(step: impl FnOnce() -> T) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        broken(Property::Assertion, text.unwrap_or("it panicked"))
    })
}

impl Machine {
    /// How many different steps were made of control and of agents.
    pub(crate) fn steps(&self) -> (usize, usize) {
        (self.control.len(), self.agents.len())
    }

    /// Control hears something: the store is written, then everything leaves.
    pub(crate) fn control(
        &mut self,
        state: &mut State,
        event: &control::Event,
    ) -> Result<(), Violation> {
        let Some(core) = state.control.clone() else {
            return Ok(());
        };
        let key = (core.print(), state.clock_ms, print(event));
        let step = match self.control.get(&key) {
            Some(step) => Rc::clone(step),
            None => {
                let mut next = Control::clone(&core);
                let output = guarded(|| next.step(now(state.clock_ms), event.clone()))?;
                let step = Rc::new(ControlStep {
                    core: Shared::new(next),
                    changes_print: print(&output.changes),
                    changes: output.changes,
                    sent: output.commands.into_iter().filter_map(sent).collect(),
                });
                self.control.insert(key, Rc::clone(&step));
                step
            }
        };
        state.control = Some(step.core.clone());
        if !step.changes.is_empty() {
            self.write(state, &step)?;
        }
        self.leave(state, &step);
        Ok(())
    }

    fn write(&mut self, state: &mut State, step: &ControlStep) -> Result<(), Violation> {
        let key = (state.store.print(), step.changes_print);
        let after = self.stores.entry(key).or_insert_with(|| {
            let mut store = Store::clone(&state.store);
            for change in step.changes.clone() {
                match change {
                    Change::Put(record) => drop(store.insert(record.key(), record)),
                    Change::Delete(key) => drop(store.remove(&key)),
                }
            }
            Shared::new(store)
        });
        let before = std::mem::replace(&mut state.store, after.clone());
        check::written(&before, state)
    }

    fn leave(&mut self, state: &mut State, step: &ControlStep) {
        for sent in &step.sent {
            match sent {
                Sent::Agent(session, message) => {
                    let links = state.links.iter_mut();
                    for link in links.filter(|link| link.session == *session) {
                        if link.at_agent == End::Open && !link.cut {
                            link.down.push_back(message.clone());
                        }
                    }
                }
                Sent::Proxy(session, message) => {
                    let proxies = state.proxies.iter_mut();
                    for proxy in proxies.filter(|proxy| proxy.session == Some(*session)) {
                        proxy.down.push_back(message.clone());
                    }
                }
                Sent::Close(session) => {
                    let links = state.links.iter_mut();
                    for link in links.filter(|link| link.session == *session) {
                        link.at_control = End::Gone;
                        link.cut = true;
                        link.up.clear();
                    }
                }
                Sent::Reply(id, answer) => self.replies.push((*id, (**answer).clone())),
            }
        }
        state.forget_links();
    }

    /// A node's agent hears something: its ledger is durable, then everything else happens. Answers what
    /// it says to a stream that wants in.
    pub(crate) fn agent(
        &mut self,
        state: &mut State,
        node: usize,
        event: &agent::Event,
    ) -> Result<Option<Result<Shared<VolumeLabel>, Failure>>, Violation> {
        let Some(core) = state.nodes[node].agent.clone() else {
            return Ok(None);
        };
        let key = (core.print(), state.clock_ms, print(event));
        let step = match self.agents.get(&key) {
            Some(step) => Rc::clone(step),
            None => {
                let mut next = Agent::clone(&core);
                let output = guarded(|| next.step(now(state.clock_ms), event.clone()))?;
                let step = Rc::new(agent_step(next, output));
                self.agents.insert(key, Rc::clone(&step));
                step
            }
        };
        carry_out(state, node, &step)
    }

    /// A node's agent starts from what is durable there.
    pub(crate) fn start_agent(
        &mut self,
        state: &mut State,
        node: usize,
        start: agent::Start,
    ) -> Result<(), Violation> {
        let (core, output) = guarded(|| Agent::new(now(state.clock_ms), start))?;
        let step = agent_step(core, output);
        carry_out(state, node, &step)?;
        Ok(())
    }
}

fn sent(command: control::Command) -> Option<Sent> {
    Some(match command {
        control::Command::ToAgent(Session(session), message) => {
            Sent::Agent(session, Shared::new(message))
        }
        control::Command::ToProxy(Session(session), message) => {
            Sent::Proxy(session, Shared::new(message))
        }
        control::Command::Close(Session(session), _) => Sent::Close(session),
        control::Command::Reply(id, answer) => Sent::Reply(id, Box::new(answer)),
        control::Command::Publish(_) => return None,
    })
}

fn agent_step(core: Agent, output: agent::Output) -> AgentStep {
    let done = |command| {
        Some(match command {
            agent::Command::Send(message) => Done::Send(Shared::new(message)),
            agent::Command::Begin(id, job) => Done::Begin(id, Shared::new(job)),
            agent::Command::Cancel(id) => Done::Cancel(id),
            agent::Command::Admit(_, answer) => Done::Admit(answer.map(Shared::new)),
            agent::Command::Logs { .. } | agent::Command::LogsEnd { .. } => return None,
        })
    };
    AgentStep {
        core: Shared::new(core),
        ledger: output.ledger.map(Shared::new),
        done: output.commands.into_iter().filter_map(done).collect(),
    }
}

fn carry_out(
    state: &mut State,
    node: usize,
    step: &AgentStep,
) -> Result<Option<Result<Shared<VolumeLabel>, Failure>>, Violation> {
    state.nodes[node].agent = Some(step.core.clone());
    if let Some(ledger) = &step.ledger {
        check::ledger_kept(&state.nodes[node].ledger, ledger)?;
        state.nodes[node].ledger = ledger.clone();
    }
    let mut admitted = None;
    for done in &step.done {
        match done {
            Done::Send(message) => {
                let link = state.link_of(node);
                if let Some(link) = link.filter(|link| link.at_control == End::Open && !link.cut) {
                    link.up.push_back(message.clone());
                }
            }
            Done::Begin(id, job) => {
                check::job_begun(state, node, job)?;
                state.nodes[node].jobs.push(Work {
                    id: *id,
                    job: job.clone(),
                    stage: Stage::Begun,
                    copied: Vec::new(),
                });
            }
            Done::Cancel(id) => crate::jobs::cancel(state, node, *id),
            Done::Admit(answer) => admitted = Some(answer.clone()),
        }
    }
    Ok(admitted)
}
