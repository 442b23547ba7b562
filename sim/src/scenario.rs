//! What is done to a cluster in one run: its shape, what people ask of it, and what goes wrong, as a
//! list drawn from the seed before the run begins. The list can be shrunk and run again.

use crate::engine::RuntimeCall;
use crate::pool::StorageCall;
use flocker_types::api::PlanRequest;
use flocker_types::app::{
    Application, DependencyCondition, HealthCheck, Placement, PortMapping, RestartPolicy,
    ServiceSpec, VolumeMount,
};
use flocker_types::ids::{ApplicationName, ServiceId, ServiceName, VolumeName};
use std::fmt;

/// A run, before it runs.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// From this every random number comes.
    pub seed: u64,
    /// Nodes at the beginning.
    pub nodes: u8,
    /// The services that people know of.
    pub services: Vec<Plan>,
    /// Time on the wire, from and to, in microseconds.
    pub latency_us: (u64, u64),
    /// How long the store takes, from and to, in microseconds.
    pub store_us: (u64, u64),
    /// No proxy ever confirms or keeps a hold (*hold-is-comfort*).
    pub rebellious_proxies: bool,
    /// A client comes this often, from and to, in microseconds; no clients when zero.
    pub clients_us: (u64, u64),
    /// Everything that is done, in order.
    pub actions: Vec<Timed>,
    /// Every fault is over by then, in milliseconds.
    pub faults_end_ms: u64,
}

/// A service as people have it in mind.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its published port.
    pub port: u16,
    /// How many volumes it has.
    pub volumes: u8,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Whether it has a health check.
    pub checked: Checked,
    /// The service of this number has to be there first.
    pub needs: Option<usize>,
    /// Time to stop, in milliseconds.
    pub stop_grace_ms: u64,
}

/// Whether a service has a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Its port tells.
    ByPort,
    /// Its health check tells.
    ByHealth,
}

/// An action and when it happens.
#[derive(Debug, Clone)]
pub struct Timed {
    /// When it begins, in milliseconds.
    pub at_ms: u64,
    /// How long it lasts, where it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// What.
    pub action: Action,
}

/// Something that is done.
#[derive(Debug, Clone)]
pub enum Action {
    /// People ask for something.
    Order(Order),
    /// Something goes wrong.
    Fault(Fault),
}

/// What people ask for. Services and nodes by their numbers.
#[derive(Debug, Clone)]
pub enum Order {
    /// These services run on those nodes, in this variant each.
    Deploy(Vec<Wish>),
    /// A service runs elsewhere.
    Move(usize, u8),
    /// Two services change places.
    Swap(usize, usize),
    /// Nothing of ours runs on this node any more.
    Drain(u8),
    /// A service stops.
    Remove(usize),
    /// The volumes of a service that does not run are deleted after so many milliseconds.
    RemoveVolumes(usize, u64),
    /// And are not, after all.
    RestoreVolumes(usize),
    /// Another node joins.
    Join,
    /// How is it going?
    Status,
    /// What did it say?
    Logs(usize),
}

/// Where a service is to run, and which variant of its description counts.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The service's number.
    pub service: usize,
    /// The node's number.
    pub node: u8,
    /// The variant: 0 as first described; bits change image, environment, and port.
    pub variant: u8,
}

/// Whether containers die with their engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// They go down with it.
    Die,
    /// They go on (live-restore).
    Live,
}

/// Whom a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Control.
    Control,
    /// A node's agent.
    Agent(u8),
    /// A node's proxy.
    Proxy(u8),
}

/// A machine in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Control's.
    Control,
    /// A node, by its number.
    Node(u8),
    /// Where people sit.
    Outside,
}

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A process is killed; it is started again when this is over.
    Kill(Role),
    /// A process stands still.
    Pause(Role),
    /// A node loses its power.
    PowerLoss(u8),
    /// A node's engine is away.
    EngineDown(u8, Containers),
    /// Nothing gets from one machine to another.
    CutOneWay(Place, Place),
    /// Nothing gets through between two machines.
    Cut(Place, Place),
    /// A machine is cut off from all the others.
    Isolate(Place),
    /// Messages take up to so many milliseconds longer.
    Slow(Place, Place, u64),
    /// The next streams to a node break somewhere in the middle.
    CutStreams(u8, u32),
    /// The next streams to a node arrive damaged.
    DamageStreams(u8, u32),
    /// A node's disk takes so many times as long.
    SlowDisk(u8, u64),
    /// A node's pool is full.
    FullPool(u8),
    /// The disk with a node's ledger is full.
    FullDisk(u8),
    /// The next calls of this kind to a node's pool fail.
    StorageFails(u8, StorageCall, u32),
    /// The next calls of this kind to a node's engine fail.
    RuntimeFails(u8, RuntimeCall, u32),
    /// Calls of this kind to a node's engine are carried out only when this is over.
    RuntimeHangs(u8, RuntimeCall),
    /// A service's container ends by itself.
    Exit(usize, i64),
    /// A service's health check fails.
    Unhealthy(usize),
    /// A node's images are gone.
    ImagesGone(u8),
    /// No registry can be reached.
    RegistryDown,
    /// Control's store takes so many milliseconds at the most.
    SlowStore(u64),
    /// The next transactions fail; whether they happened is not known.
    StoreFails(u32),
    /// The next words that a node hears are followed by some that it heard long ago.
    Echo(u8, u32),
    /// A machine's date jumps by so many milliseconds.
    WallClock(Place, i64),
}

impl Plan {
    /// Its id.
    pub fn id(&self) -> ServiceId {
        ServiceId {
            application: ApplicationName::default(),
            name: self.service_name(),
        }
    }

    fn service_name(&self) -> ServiceName {
        ServiceName::new(self.name.clone()).expect("scenarios name services well")
    }

    /// Its description in a variant.
    pub fn spec(&self, variant: u8, others: &[Plan]) -> ServiceSpec {
        let mut spec = ServiceSpec::of_image(format!("image:{}", variant & 1));
        let shift = u16::from(variant >> 2 & 1) * 1_000;
        spec.ports.push(PortMapping {
            internal: 5432,
            external: self.port + shift,
        });
        if variant & 2 != 0 {
            spec.environment
                .insert("VARIANT".to_owned(), "2".to_owned());
        }
        let more = variant >> 3 & 1;
        for number in 0..self.volumes + more {
            let name = format!("{}-{number}", self.name);
            spec.mounts.push(VolumeMount {
                volume: VolumeName::new(name).expect("scenarios name volumes well"),
                target: format!("/data{number}"),
                size_bytes_max: None,
                read_only: false,
            });
        }
        spec.restart = self.restart;
        spec.stop_grace_ms = self.stop_grace_ms;
        if self.checked == Checked::ByHealth {
            spec.health_check = Some(HealthCheck {
                test: vec!["CMD".to_owned(), "true".to_owned()],
                interval_ms: 1_000,
                timeout_ms: 1_000,
                retries: 3,
                start_period_ms: 1_000,
                start_interval_ms: None,
            });
        }
        if let Some(other) = self.needs.and_then(|other| others.get(other)) {
            let started = DependencyCondition::Started;
            spec.depends_on.insert(other.service_name(), started);
        }
        spec
    }
}

impl Scenario {
    /// "These services, each on that node."
    pub fn request(&self, wishes: &[Wish]) -> PlanRequest {
        let named = |wish: &Wish| self.services.get(wish.service).map(|plan| (plan, *wish));
        let wishes: Vec<(&Plan, Wish)> = wishes.iter().filter_map(named).collect();
        PlanRequest {
            application: Application {
                name: ApplicationName::default(),
                services: wishes
                    .iter()
                    .map(|(plan, wish)| {
                        (plan.service_name(), plan.spec(wish.variant, &self.services))
                    })
                    .collect(),
            },
            placement: Placement {
                services: wishes
                    .iter()
                    .map(|(plan, wish)| (plan.service_name(), format!("n{}", wish.node)))
                    .collect(),
                ..Placement::default()
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control's machine"),
            Self::Node(number) => write!(f, "n{number}"),
            Self::Outside => f.write_str("the people"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Agent(number) => write!(f, "the agent of n{number}"),
            Self::Proxy(number) => write!(f, "the proxy of n{number}"),
        }
    }
}
