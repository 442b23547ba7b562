//! A history of an agent's core: control says anything in any order, jobs end in any way, and other
//! nodes ask to send volumes.

use super::input::Input;
use super::said::{self, CLUSTER, Names, node_id};
use crate::agent::{
    Agent, Command, ContainerRunSeen, ContainerSeen, Event, Job, JobId, JobOutcome, Ledger, Output,
    Start,
};
use flocker_types::app::{RestartPolicy, ServiceSpec};
use flocker_types::ids::{BootId, NodeId, ServiceId, TaskId};
use flocker_types::link::{AgentHello, Follow, ToAgent};
use flocker_types::task::{
    ContainerSpec, CopyVolume, Directive, IncomingVolume, Peer, Task, TaskOutcome, TaskProgress,
    VolumeClaim, Want, Work,
};
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::{PoolUsage, Role, StorageKind, VolumeCopy};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use uuid::Uuid;

const STEPS_MAX: usize = 400;
const COMMANDS_MAX: usize = 2_000;

pub(super) fn run(mut input: Input<'_>) {
    let mut node = Node::new();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        node.something(&mut input);
    }
    node.restart(BootId(Uuid::from_u128(2)), &[]);
    node.step(Event::LinkUp);
    node.pass(3_600_000);
}

struct Node {
    agent: Agent,
    ledger: Ledger,
    names: Names,
    clock_ms: u64,
    jobs: BTreeMap<JobId, Job>,
    copies: Vec<VolumeCopy>,
}

impl Node {
    fn new() -> Self {
        let boot = BootId(Uuid::from_u128(1));
        let (agent, output) = Agent::new(now(1_000), start(boot, Ledger::default(), &[], &[]));
        let mut node = Self {
            agent,
            ledger: Ledger::default(),
            names: Names::new(),
            clock_ms: 1_000,
            jobs: BTreeMap::new(),
            copies: Vec::new(),
        };
        node.carry_out(output);
        node
    }

    fn restart(&mut self, boot: BootId, containers: &[ContainerSeen]) {
        let start = start(boot, self.ledger.clone(), &self.copies, containers);
        let (agent, output) = Agent::new(now(self.clock_ms), start);
        self.agent = agent;
        self.jobs.clear();
        self.carry_out(output);
    }

    fn step(&mut self, event: Event) {
        self.clock_ms += 1;
        let output = self.agent.step(now(self.clock_ms), event);
        self.carry_out(output);
    }

    fn pass(&mut self, milliseconds: u64) {
        self.clock_ms += milliseconds;
        self.step(Event::Tick);
    }

    fn carry_out(&mut self, output: Output) {
        assert!(output.commands.len() <= COMMANDS_MAX);
        if let Some(ledger) = output.ledger {
            let json = serde_json::to_vec(&ledger).expect("a ledger has a JSON form");
            self.ledger = serde_json::from_slice(&json).expect("it can be read");
            assert_eq!(self.ledger, ledger);
        }
        for command in output.commands {
            match command {
                Command::Begin(id, job) => {
                    let twice = self.jobs.insert(id, job);
                    assert!(twice.is_none(), "{id:?} was given twice");
                }
                Command::Admit(..) => panic!("nobody has asked"),
                _ => {}
            }
        }
    }

    fn something(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0..=2 => {
                let message = self.order(input);
                self.step(Event::Control(message));
            }
            3 | 4 => self.end_job(input),
            5 => self.ask_to_send(input),
            6 => self.container_event(input),
            7 => self.pass(input.number().min(1_000_000)),
            8 => {
                let copy = self.names.copy(input);
                self.copies.retain(|known| known.label.id != copy.label.id);
                self.copies.push(copy.clone());
                self.step(Event::Volume(copy));
            }
            9 => {
                let seen = self.seen(input);
                match input.below(3) {
                    0 => self.step(Event::Containers(seen)),
                    1 => self.restart(BootId(Uuid::from_u128(1)), &seen),
                    _ => self.restart(BootId(Uuid::from_u128(u128::from(input.byte()))), &seen),
                }
            }
            10 => {
                let event = match input.below(2) {
                    0 => Event::LinkUp,
                    _ => Event::LinkDown,
                };
                self.step(event);
            }
            _ => {
                let (volume, used_bytes) = (self.names.volume(input), input.number());
                self.step(Event::VolumeUsed { volume, used_bytes });
            }
        }
    }

    /// Another node wants to send: only what a grant in the ledger says, and never over a volume
    /// that is held here.
    fn ask_to_send(&mut self, input: &mut Input<'_>) {
        let (from, volume) = (node_id(input.below(4)), self.names.volume(input));
        let epoch = self.names.epoch(input);
        let asked = JobId(u64::MAX);
        let event = Event::Incoming {
            job: asked,
            from,
            volume,
            epoch,
        };
        self.clock_ms += 1;
        let mut output = self.agent.step(now(self.clock_ms), event);
        let at = output
            .commands
            .iter()
            .position(|command| matches!(command, Command::Admit(..)));
        let answer = output.commands.remove(at.expect("it is answered at once"));
        let Command::Admit(id, answer) = answer else {
            panic!("looked for above");
        };
        assert_eq!(id, asked);
        if let Ok(label) = answer {
            let grant = self.ledger.grants.get(&volume).expect("control granted it");
            assert_eq!((grant.source, grant.epoch), (from, epoch));
            assert_eq!((grant.label.id, &grant.label), (volume, &label));
        }
        self.carry_out(output);
    }

    fn order(&mut self, input: &mut Input<'_>) -> ToAgent {
        match input.below(8) {
            0 => ToAgent::Welcome {
                directives: input.some(|input| directive(&self.names, input)),
            },
            1 | 2 => ToAgent::Directive(directive(&self.names, input)),
            3 | 4 => {
                let task = self.task(input);
                Names::note(&mut self.names.tasks, task.id);
                ToAgent::Task(task)
            }
            5 => ToAgent::Cancel(self.names.task(input)),
            6 => ToAgent::Recorded(self.names.task(input)),
            _ => ToAgent::Logs {
                request: input.number(),
                service: self.names.service(input),
                tail: None,
                follow: Follow::Yes,
            },
        }
    }

    fn task(&mut self, input: &mut Input<'_>) -> Task {
        let names = &self.names;
        let operation = u128::from(input.byte() % 4);
        let id = TaskId {
            operation: flocker_types::ids::OperationId(Uuid::from_u128(operation)),
            sequence: u32::from(input.byte()),
        };
        let work = match input.below(6) {
            0 => Work::CreateVolume {
                label: names.label(input),
            },
            1 => Work::Prepare {
                service: names.service(input),
                container: Box::new(container(names, input)),
                incoming: input.some(|input| IncomingVolume {
                    label: names.label(input),
                    source: node_id(input.below(4)),
                    size_bytes_estimate: input.number(),
                }),
                image_peers: input.some(peer),
            },
            2 => Work::Copy {
                volumes: input.some(|input| CopyVolume {
                    volume: names.volume(input),
                    epoch: names.epoch(input),
                    snapshot: names.snapshot(input),
                    bases: Vec::new(),
                }),
                target: peer(input),
            },
            3 => Work::Demote {
                volume: names.volume(input),
                epoch: names.epoch(input),
                head: names.snapshot(input),
            },
            4 => Work::Prune {
                volume: names.volume(input),
                delete: input.some(|input| names.snapshot(input)),
            },
            _ => Work::Destroy {
                volume: names.volume(input),
                epoch: names.epoch(input),
            },
        };
        Task {
            id,
            work,
            stall_limit_ms: input.number(),
        }
    }

    fn end_job(&mut self, input: &mut Input<'_>) {
        let known: Vec<JobId> = self.jobs.keys().copied().collect();
        let id = input.pick(&known).unwrap_or(JobId(input.number()));
        if input.one_in(4) {
            let progress = TaskProgress {
                bytes_done: input.number(),
                bytes_total: input.maybe(Input::number),
            };
            return self.step(Event::JobProgress { job: id, progress });
        }
        let job = self.jobs.remove(&id);
        let result = match (input.below(4), job) {
            (0, _) => Err(said::failure(input)),
            (_, Some(Job::Run { volumes, .. })) => Ok(JobOutcome::Running {
                prepared: said::prepared(input),
                volumes: volumes.iter().map(held).collect(),
            }),
            (_, Some(Job::Prepare { .. })) => Ok(JobOutcome::Prepared(said::prepared(input))),
            (_, Some(Job::Stop { .. })) => Ok(JobOutcome::Stopped {
                code: input.maybe(|input| i64::from(input.byte())),
            }),
            (_, Some(Job::Destroy { volume })) => Ok(JobOutcome::Gone(volume)),
            (1, _) => Ok(JobOutcome::Task(TaskOutcome::Done)),
            (2, _) => Ok(JobOutcome::Volumes(
                input.some(|input| self.names.copy(input)),
            )),
            _ => Ok(JobOutcome::Done),
        };
        self.step(Event::JobDone { job: id, result });
    }

    fn container_event(&mut self, input: &mut Input<'_>) {
        let service = self.names.service(input);
        let event = match input.below(3) {
            0 => Event::Ready { service },
            1 => Event::Unhealthy {
                service,
                message: input.text(),
            },
            _ => Event::Exited {
                service,
                code: i64::from(input.byte()),
            },
        };
        self.step(event);
    }

    fn seen(&mut self, input: &mut Input<'_>) -> Vec<ContainerSeen> {
        input.some(|input| ContainerSeen {
            service: self.names.service(input),
            fingerprint: input.text(),
            image_id: input.text(),
            exposed_ports: Vec::new(),
            address: input.address(),
            run: match input.below(3) {
                0 => ContainerRunSeen::Created,
                1 => ContainerRunSeen::Running,
                _ => ContainerRunSeen::Exited {
                    code: input.maybe(|input| i64::from(input.byte())),
                },
            },
        })
    }
}

fn now(clock_ms: u64) -> Now {
    Now {
        monotonic: Monotonic(clock_ms),
        wall: UnixMs(clock_ms),
    }
}

fn start(
    boot: BootId,
    ledger: Ledger,
    volumes: &[VolumeCopy],
    containers: &[ContainerSeen],
) -> Start {
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let hello = AgentHello {
        cluster: CLUSTER,
        node: node_id(1),
        boot,
        name: None,
        version: "2.0.0".to_owned(),
        stream_address: (address, 4524).into(),
        node_address: address,
        storage: StorageKind::Btrfs,
        pool: PoolUsage {
            size_bytes: 1 << 40,
            free_bytes: 1 << 39,
        },
        volumes: Vec::new(),
        services: Vec::new(),
    };
    Start {
        node: node_id(1),
        boot,
        ledger,
        volumes: volumes.to_vec(),
        containers: containers.to_vec(),
        hello,
        container_network: "10.213.0.0/29".parse().expect("a network"),
    }
}

fn peer(input: &mut Input<'_>) -> Peer {
    let node: NodeId = node_id(input.below(4));
    Peer {
        node,
        address: (Ipv4Addr::new(10, 0, 0, 2), 4524).into(),
    }
}

fn held(claim: &VolumeClaim) -> VolumeCopy {
    VolumeCopy {
        label: claim.label.clone(),
        role: Role::Holder,
        snapshots: Vec::new(),
        used_bytes: None,
    }
}

fn container(names: &Names, input: &mut Input<'_>) -> ContainerSpec {
    let mut spec = ServiceSpec::of_image("postgres:15");
    spec.stop_grace_ms = input.number();
    spec.restart = match input.below(3) {
        0 => RestartPolicy::Never,
        1 => RestartPolicy::Always,
        _ => RestartPolicy::OnFailure {
            retries_max: input.maybe(|input| u32::from(input.byte())),
        },
    };
    ContainerSpec {
        spec,
        hosts: Vec::new(),
        link_environment: Vec::new(),
        image_id: input.maybe(Input::text),
        cluster_address: input.maybe(Input::address),
        volumes: input.some(|input| names.volume(input)),
    }
}

fn directive(names: &Names, input: &mut Input<'_>) -> Directive {
    let service: ServiceId = names.service(input);
    let want = match input.below(4) {
        0 | 1 => Want::Run {
            container: container(names, input),
            volumes: input.some(|input| VolumeClaim {
                label: names.label(input),
                head: input.maybe(|input| names.snapshot(input)),
            }),
        },
        2 => Want::Stopped,
        _ => Want::Absent,
    };
    Directive {
        service,
        generation: names.generation(input),
        want,
    }
}
