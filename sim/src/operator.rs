//! People: they ask control for things, as the commands do, and ask again when there is no answer.

use crate::event::What;
use crate::network::Host;
use crate::node::Node;
use crate::rng::Rng;
use crate::scenario::{Order, Plan, Wish};
use crate::world::World;
use flocker_core::cluster::{Record, TokenRecord};
use flocker_core::control::Response;
use flocker_types::api::{
    ApiError, DeployRequest, MoveRequest, PlanRequest, RemoveRequest, RemoveVolumeRequest,
    RestoreVolumeRequest,
};
use flocker_types::app::{Application, Placement};
use flocker_types::ids::{NodeName, OperationId, ServiceId, VolumeId};
use flocker_types::link::Follow;
use flocker_types::operation::Phase;
use flocker_types::time::UnixMs;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

pub(crate) use flocker_core::control::Request;

/// Somebody who has had no answer for this long asks again, in microseconds.
const PATIENCE_US: u64 = 20_000_000;
/// Attempts at one thing.
const ATTEMPTS_MAX: u32 = 6;

/// What somebody wants done: a chain of requests.
#[derive(Debug)]
enum Wanted {
    Plan(PlanRequest),
    One(Box<Request>),
    Join(u8),
}

/// Somebody who wants something.
#[derive(Debug)]
struct Person {
    wanted: VecDeque<Wanted>,
    /// The request that has no answer yet.
    waits_for: Option<u64>,
    /// What comes after the present answer.
    next: Option<Box<Request>>,
    attempts: u32,
    step: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct People {
    all: Vec<Person>,
    asked: BTreeMap<u64, usize>,
    /// Answers that tests look at.
    pub(crate) answers: BTreeMap<u64, Result<Response, ApiError>>,
    /// Phases of operations, as told in the story.
    pub(crate) phases: BTreeMap<OperationId, (Phase, bool)>,
    rng: Rng,
    joined: u8,
}

impl People {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            all: Vec::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            phases: BTreeMap::new(),
            rng: Rng::fork(seed, 3),
            joined: 0,
        }
    }
}

impl World {
    /// People ask for something.
    pub(crate) fn order(&mut self, order: Order) {
        self.trace.say(self.now_us, || format!("ORDER {order:?}"));
        let wanted = self.wanted(order);
        self.somebody_wants(wanted);
    }

    fn somebody_wants(&mut self, wanted: VecDeque<Wanted>) {
        if wanted.is_empty() {
            return;
        }
        self.people.all.push(Person {
            wanted,
            waits_for: None,
            next: None,
            attempts: 0,
            step: 0,
        });
        let number = self.people.all.len() - 1;
        self.person_goes_on(number, 0);
    }

    fn wanted(&mut self, order: Order) -> VecDeque<Wanted> {
        let one = |request: Request| VecDeque::from([Wanted::One(Box::new(request))]);
        match order {
            Order::Deploy(wishes) => VecDeque::from([Wanted::Plan(self.scenario.request(&wishes))]),
            Order::Move(service, node) => match self.scenario.services.get(service) {
                Some(plan) => one(Request::Move(MoveRequest {
                    service: plan.id(),
                    node: format!("n{node}"),
                })),
                None => VecDeque::new(),
            },
            Order::Swap(one, other) => self.swapped(one, other),
            Order::Drain(node) => self.drained(node),
            Order::Remove(service) => match self.scenario.services.get(service) {
                Some(plan) => one(Request::Remove(RemoveRequest { service: plan.id() })),
                None => VecDeque::new(),
            },
            Order::RemoveVolumes(service, grace_ms) => {
                let doom = |volume| Request::RemoveVolume(RemoveVolumeRequest { volume, grace_ms });
                let volumes = self.volumes_of(service);
                volumes
                    .into_iter()
                    .map(|id| Wanted::One(Box::new(doom(id))))
                    .collect()
            }
            Order::RestoreVolumes(service) => {
                let restore = |volume| Request::RestoreVolume(RestoreVolumeRequest { volume });
                let volumes = self.volumes_of(service);
                volumes
                    .into_iter()
                    .map(|id| Wanted::One(Box::new(restore(id))))
                    .collect()
            }
            Order::Join => {
                self.people.joined += 1;
                VecDeque::from([Wanted::Join(self.scenario.nodes + self.people.joined)])
            }
            Order::Status => one(Request::Status),
            Order::Logs(service) => match self.scenario.services.get(service) {
                Some(plan) => one(Request::Logs {
                    service: plan.id(),
                    tail: None,
                    follow: Follow::No,
                }),
                None => VecDeque::new(),
            },
        }
    }

    /// Volumes whose names say that they are this service's.
    fn volumes_of(&self, service: usize) -> Vec<VolumeId> {
        let Some(plan) = self.scenario.services.get(service) else {
            return Vec::new();
        };
        let prefix = format!("{}-", plan.name);
        self.control
            .store
            .records()
            .filter_map(|record| match record {
                Record::Volume(volume) if volume.name.as_str().starts_with(&prefix) => {
                    Some(volume.id)
                }
                _ => None,
            })
            .collect()
    }

    /// What runs, as `flocker status` would show it: services with their nodes.
    pub(crate) fn placed(&self) -> Vec<(ServiceId, flocker_types::app::ServiceSpec, String)> {
        let of = |record: &Record| match record {
            Record::Service(service) => {
                let node = self.nodes.get(&service.node?)?;
                Some((service.id.clone(), service.spec.clone(), node.name.clone()))
            }
            _ => None,
        };
        self.control.store.records().filter_map(of).collect()
    }

    /// A plan for services as they are described, on other nodes.
    pub(crate) fn again(
        &self,
        services: Vec<(ServiceId, flocker_types::app::ServiceSpec, String)>,
    ) -> PlanRequest {
        PlanRequest {
            application: Application {
                name: flocker_types::ids::ApplicationName::default(),
                services: services
                    .iter()
                    .map(|(id, spec, _)| (id.name.clone(), spec.clone()))
                    .collect(),
            },
            placement: Placement {
                services: services
                    .into_iter()
                    .map(|(id, _, node)| (id.name, node))
                    .collect(),
                ..Placement::default()
            },
        }
    }

    fn swapped(&self, one: usize, other: usize) -> VecDeque<Wanted> {
        let id = |number: usize| {
            self.scenario
                .services
                .get(number)
                .map(crate::scenario::Plan::id)
        };
        let placed = self.placed();
        let find = |id: Option<ServiceId>| placed.iter().find(|(of, ..)| Some(of) == id.as_ref());
        let (Some(a), Some(b)) = (find(id(one)), find(id(other))) else {
            return VecDeque::new();
        };
        let mut both = vec![a.clone(), b.clone()];
        both[0].2 = b.2.clone();
        both[1].2 = a.2.clone();
        VecDeque::from([Wanted::Plan(self.again(both))])
    }

    fn drained(&self, node: u8) -> VecDeque<Wanted> {
        let name = format!("n{node}");
        let others: Vec<String> = self
            .nodes
            .values()
            .map(|other| other.name.clone())
            .filter(|other| *other != name)
            .collect();
        let mut moved: Vec<_> = self
            .placed()
            .into_iter()
            .filter(|(.., on)| *on == name)
            .collect();
        for (index, service) in moved.iter_mut().enumerate() {
            service.2.clone_from(&others[index % others.len()]);
        }
        if moved.is_empty() {
            return VecDeque::new();
        }
        VecDeque::from([Wanted::Plan(self.again(moved))])
    }

    /// Somebody deploys again what should run already, with what it depends on: a service that waits
    /// for one that somebody has removed cannot start.
    pub(crate) fn redeploy(&mut self) {
        let mut placed = self.placed();
        let plans = &self.scenario.services;
        let needed = plans.iter().filter(|plan| {
            let here = |id: &ServiceId| placed.iter().any(|(of, ..)| of == id);
            let needs_it = |other: &Plan| {
                let it = other.needs.and_then(|number| plans.get(number));
                here(&other.id()) && it.is_some_and(|it| it.name == plan.name)
            };
            !here(&plan.id()) && plans.iter().any(needs_it)
        });
        let missing: Vec<_> = needed
            .map(|plan| (plan.id(), plan.spec(0, plans), "n1".to_owned()))
            .collect();
        placed.extend(missing);
        if !placed.is_empty() {
            let request = self.again(placed);
            self.somebody_wants(VecDeque::from([Wanted::Plan(request)]));
        }
    }

    /// Whether somebody still waits or is about to ask.
    pub(crate) fn people_are_busy(&self) -> bool {
        self.people
            .all
            .iter()
            .any(|person| !person.wanted.is_empty())
    }

    /// Somebody goes on: asks, or asks again when the answer does not come.
    pub(crate) fn person_goes_on(&mut self, number: usize, step: u64) {
        let Some(person) = self.people.all.get_mut(number) else {
            return;
        };
        if person.step != step {
            return;
        }
        person.step += 1;
        person.attempts += 1;
        if person.attempts > ATTEMPTS_MAX {
            person.wanted.clear();
            return;
        }
        if let Some(old) = person.waits_for.take() {
            self.people.asked.remove(&old);
        }
        let person = &mut self.people.all[number];
        let request = match (&person.next, person.wanted.front()) {
            (Some(next), _) => next.clone(),
            (None, Some(Wanted::Plan(request))) => {
                Box::new(Request::Plan(Box::new(request.clone())))
            }
            (None, Some(Wanted::One(request))) => request.clone(),
            (None, Some(Wanted::Join(joiner))) => {
                let token = token(*joiner, person.step);
                Box::new(Request::AddToken(token))
            }
            (None, None) => return,
        };
        let step = person.step;
        let id = self.ask(request);
        self.people.asked.insert(id, number);
        self.people.all[number].waits_for = Some(id);
        self.after(PATIENCE_US, What::Operator(number, step));
    }

    /// Sends a request to control.
    pub(crate) fn ask(&mut self, request: Box<Request>) -> u64 {
        self.next_number += 1;
        let id = self.next_number;
        if let Request::RemoveVolume(removal) = &*request {
            self.checks
                .asked_removal(self.now_us, removal.volume, removal.grace_ms);
        }
        if self.network.is_cut_either_way(Host::Outside, Host::Control) {
            self.after(5_000_000, What::Ask(id, request));
        } else {
            let delay = self.network.delay_us(Host::Outside, Host::Control);
            self.after(delay, What::Ask(id, request));
        }
        id
    }

    /// Control will not answer this request any more.
    pub(crate) fn unanswered(&mut self, id: u64) {
        if let Some(number) = self.people.asked.remove(&id) {
            let wait = self.people.rng.between(500_000, 3_000_000);
            let person = &mut self.people.all[number];
            person.waits_for = None;
            person.next = None;
            person.step += 1;
            let step = person.step;
            self.after(wait, What::Operator(number, step));
        }
    }

    /// Control answers.
    pub(crate) fn answered(&mut self, id: u64, answer: Result<Response, ApiError>) {
        self.checks.answered(&answer);
        let Some(number) = self.people.asked.get(&id).copied() else {
            self.people.answers.insert(id, answer);
            return;
        };
        if self.network.is_cut(Host::Control, Host::Outside) {
            // It gets lost; they ask again.
            return;
        }
        if matches!(answer, Ok(Response::Log { end: false, .. })) {
            return;
        }
        self.people.asked.remove(&id);
        let think = self.people.rng.between(5_000, 1_500_000);
        let person = &mut self.people.all[number];
        person.waits_for = None;
        person.step += 1;
        let step = person.step;
        match answer {
            Err(error) => {
                person.next = None;
                self.trace
                    .say(self.now_us, || format!("refused: {}", error.message));
                let wait = self.people.rng.between(1_000_000, 6_000_000);
                self.after(wait, What::Operator(number, step));
            }
            Ok(Response::Plan(plan)) if !plan.steps.is_empty() => {
                person.next = Some(Box::new(Request::Deploy(Box::new(DeployRequest {
                    plan: *plan,
                }))));
                person.attempts = person.attempts.saturating_sub(1);
                self.after(think, What::Operator(number, step));
            }
            Ok(Response::Done) if matches!(person.wanted.front(), Some(Wanted::Join(_))) => {
                person.next = join(person);
                person.attempts = person.attempts.saturating_sub(1);
                self.after(think, What::Operator(number, step));
            }
            Ok(answer) => self.satisfied(number, answer, think),
        }
    }

    fn satisfied(&mut self, number: usize, answer: Response, think: u64) {
        let person = &mut self.people.all[number];
        person.next = None;
        person.attempts = 0;
        let done = person.wanted.pop_front();
        let step = person.step;
        if let (Response::Joined { node }, Some(Wanted::Join(joiner))) = (&answer, done) {
            let cluster = self.nodes.values().next().map(|node| node.cluster);
            if let Some(cluster) = cluster {
                let new = Node::new(self.scenario.seed, *node, cluster, joiner);
                self.start_node(*node, new);
            }
        }
        if let Response::Started(started) = answer
            && let Some(first) = started.operations.first()
            && self.people.rng.chance(300)
        {
            // Somebody who waits for its end.
            let end = Box::new(Request::OperationEnd(*first));
            self.ask(end);
        }
        self.after(think, What::Operator(number, step));
    }
}

fn token(joiner: u8, attempt: u64) -> TokenRecord {
    TokenRecord {
        id: format!("token-{joiner}-{attempt}"),
        secret_sha256: "0".repeat(64),
        expires: UnixMs(u64::MAX),
        node: None,
    }
}

fn join(person: &Person) -> Option<Box<Request>> {
    let Some(Wanted::Join(joiner)) = person.wanted.front() else {
        return None;
    };
    Some(Box::new(Request::Join {
        token: token(*joiner, person.step - 1).id,
        name: NodeName::new(format!("n{joiner}")).expect("a valid name"),
        address: Ipv4Addr::new(10, 0, 0, *joiner),
    }))
}

impl Wish {
    /// A service on a node, as first described.
    pub fn new(service: usize, node: u8) -> Self {
        Self {
            service,
            node,
            variant: 0,
        }
    }
}
