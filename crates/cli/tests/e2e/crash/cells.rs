//! The cells of the crash matrix as data: each operation, each of its steps, whom a fault hits then,
//! and with what. A cell that makes no sense says why.
//!
//! Read by the runner and by the summary. Does nothing by itself.

use flocker_types::operation::Phase;
use std::time::Duration;

/// What goes on while the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// A service moves to another node with its data.
    Move,
    /// A service stops; its volume stays.
    Remove,
    /// A new service with a new volume starts.
    Deploy,
    /// A service starts again on another node than the one that has its volume.
    DeployWithData,
    /// A move fails before its commit and is turned back.
    Rollback,
    /// Two services change places by one deployment.
    Swap,
    /// A server becomes a node.
    Join,
}

impl Operation {
    pub(super) const ALL: [Self; 7] = [
        Self::Move,
        Self::Remove,
        Self::Deploy,
        Self::Rollback,
        Self::DeployWithData,
        Self::Swap,
        Self::Join,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Remove => "remove",
            Self::Deploy => "deploy",
            Self::DeployWithData => "deploy with data",
            Self::Rollback => "rollback",
            Self::Swap => "swap",
            Self::Join => "join",
        }
    }

    /// Its steps, in order.
    pub(super) fn steps(self) -> &'static [Step] {
        match self {
            Self::Move | Self::Swap => &MOVE,
            Self::Remove => &REMOVE,
            Self::Deploy => &DEPLOY,
            Self::DeployWithData => &DEPLOY_WITH_DATA,
            Self::Rollback => &ROLLBACK,
            Self::Join => &JOIN,
        }
    }

    pub(super) fn has_source(self) -> bool {
        !matches!(self, Self::Deploy | Self::Join)
    }

    pub(super) fn has_target(self) -> bool {
        self != Self::Remove
    }
}

/// How a step is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Control's API shows the phase.
    Seen(Phase),
    /// So long ago, in milliseconds.
    SeenFor(Phase, u64),
    /// Control has stopped itself there: see `crates/control/src/shell/halt.rs`.
    Halted(&'static str),
    /// It has gone on from there so long ago, in milliseconds.
    HaltedFor(&'static str, u64),
    /// The agent and the proxy of a new node have just been started.
    Begun,
    /// The agent of a new node is connected.
    Connected,
}

/// Since when the target refuses the source's streams, so that the move is turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not.
    Never,
    /// Before the move begins.
    AtFirst,
    /// From the hold on.
    AtHold,
}

/// A step of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) aim: Aim,
    pub(super) refusal: Refusal,
}

const fn step(name: &'static str, aim: Aim) -> Step {
    Step {
        name,
        aim,
        refusal: Refusal::Never,
    }
}

const fn refused(name: &'static str, aim: Aim, refusal: Refusal) -> Step {
    Step { name, aim, refusal }
}

const PREPARE: Step = step("prepare", Aim::Seen(Phase::Prepare));
const COPY: Step = step("copy", Aim::Seen(Phase::Copy));
const HOLD: Step = step("hold", Aim::Halted("hold after"));
const STOP: Step = step("stop", Aim::Seen(Phase::Stop));
const LAST_DELTA: Step = step("last delta", Aim::Seen(Phase::LastDelta));
/// The new holder is decided and not durable.
const COMMIT: Step = step("commit", Aim::Halted("start before"));
/// It is durable, and nobody has been told.
const COMMITTED: Step = step("committed", Aim::Halted("start after"));
const START: Step = step("start", Aim::SeenFor(Phase::Start, 300));
const RELEASE: Step = step("release", Aim::Halted("release after"));
const KEEP: Step = step("keep", Aim::Halted("keep after"));

const MOVE: [Step; 10] = [
    PREPARE, COPY, HOLD, STOP, LAST_DELTA, COMMIT, COMMITTED, START, RELEASE, KEEP,
];
const DEPLOY: [Step; 6] = [PREPARE, COMMIT, COMMITTED, START, RELEASE, KEEP];
const DEPLOY_WITH_DATA: [Step; 8] = [
    PREPARE, STOP, LAST_DELTA, COMMIT, COMMITTED, START, RELEASE, KEEP,
];
const REMOVE: [Step; 4] = [
    STOP,
    step("commit", Aim::Halted("release before")),
    step("committed", Aim::Halted("release after")),
    step("keep", Aim::Seen(Phase::Keep)),
];
const ROLLBACK: [Step; 5] = [
    refused("copy fails", Aim::Seen(Phase::Copy), Refusal::AtFirst),
    refused("copy failed", Aim::Halted("failed after"), Refusal::AtFirst),
    refused(
        "last delta fails",
        Aim::Seen(Phase::LastDelta),
        Refusal::AtHold,
    ),
    refused(
        "turned back",
        Aim::Halted("aborting after"),
        Refusal::AtHold,
    ),
    refused(
        "starts again",
        Aim::HaltedFor("aborting after", 400),
        Refusal::AtHold,
    ),
];

const JOIN: [Step; 4] = [
    step("registering", Aim::Halted("node before")),
    step("registered", Aim::Halted("node after")),
    step("first start", Aim::Begun),
    step("connected", Aim::Connected),
];

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Control,
    AgentOfSource,
    AgentOfTarget,
    ProxyOfSource,
    ProxyOfTarget,
    EngineOfSource,
    EngineOfTarget,
    NodeOfSource,
    NodeOfTarget,
    /// The cable between source and target.
    Link,
    /// `flocker join`, on the server that joins.
    JoinCommand,
}

impl Process {
    pub(super) const ALL: [Self; 11] = [
        Self::Control,
        Self::AgentOfSource,
        Self::AgentOfTarget,
        Self::ProxyOfSource,
        Self::ProxyOfTarget,
        Self::EngineOfSource,
        Self::EngineOfTarget,
        Self::NodeOfSource,
        Self::NodeOfTarget,
        Self::Link,
        Self::JoinCommand,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::AgentOfSource => "agent of source",
            Self::AgentOfTarget => "agent of target",
            Self::ProxyOfSource => "proxy of source",
            Self::ProxyOfTarget => "proxy of target",
            Self::EngineOfSource => "engine of source",
            Self::EngineOfTarget => "engine of target",
            Self::NodeOfSource => "node of source",
            Self::NodeOfTarget => "node of target",
            Self::Link => "source to target",
            Self::JoinCommand => "flocker join",
        }
    }

    fn is_of_source(self) -> bool {
        self.name().ends_with("source") || self == Self::Link
    }

    fn is_of_target(self) -> bool {
        self.name().ends_with("target")
    }

    fn is_engine(self) -> bool {
        self.name().starts_with("engine")
    }
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL, a node loses power; started again after a while.
    Killed,
    /// SIGSTOP, a node with all that runs on it; it goes on later.
    Frozen,
    /// Nothing gets to it or from it.
    Cut,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::Killed, Self::Frozen, Self::Cut];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Cut => "cut",
        }
    }
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) operation: Operation,
    pub(super) step: Step,
    pub(super) process: Process,
    pub(super) fault: Fault,
}

/// Who was killed is started again after this long.
pub(super) const SHORT: Duration = Duration::from_secs(2);
/// Longer than everything in [`super::limits::LIMITS`], one after the other.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Longer than an agent waits for the next piece of a stream, which is 30 s.
const LONGER_THAN_A_STREAM: Duration = Duration::from_secs(35);
/// Longer than an agent waits for its engine to change something, which is 60 s.
const LONGER_THAN_AN_ENGINE: Duration = Duration::from_secs(70);

impl Cell {
    /// Every combination, in the order in which they are of interest.
    pub(super) fn every() -> Vec<Self> {
        let mut all = Vec::new();
        for operation in Operation::ALL {
            for step in operation.steps() {
                for process in Process::ALL {
                    for fault in Fault::ALL {
                        all.push(Self {
                            operation,
                            step: *step,
                            process,
                            fault,
                        });
                    }
                }
            }
        }
        all
    }

    /// Why it makes no sense, if it does not.
    pub(super) fn senseless(&self) -> Option<&'static str> {
        let is_role = matches!(
            self.process,
            Process::AgentOfTarget | Process::ProxyOfTarget
        );
        if self.process.is_of_source() && !self.operation.has_source() {
            Some("what is new has no source")
        } else if (self.process.is_of_target() || self.process == Process::Link)
            && !self.operation.has_target()
        {
            Some("a removal has no target")
        } else if self.process == Process::JoinCommand && self.operation != Operation::Join {
            Some("it takes part in joining only")
        } else if self.process == Process::JoinCommand && !self.is_registration() {
            Some("it has ended by then")
        } else if self.process == Process::JoinCommand && self.fault == Fault::Cut {
            Some("to cut its server off is the same: nothing else runs there")
        } else if is_role && self.is_registration() {
            Some("it is started when the node is registered")
        } else if self.process == Process::Link && self.fault != Fault::Cut {
            Some("a cable is no process")
        } else if self.process.is_engine() && self.fault == Fault::Cut {
            Some("an engine is reached by its own node's agent only, by a socket of the node")
        } else {
            None
        }
    }

    /// Whether the node that joins is not yet known to itself.
    fn is_registration(&self) -> bool {
        ["registering", "registered"].contains(&self.step.name)
    }

    /// How long the fault lasts.
    pub(super) fn lasts(&self) -> Duration {
        let in_one_of = |steps: &[&str]| steps.contains(&self.step.name);
        let streams = in_one_of(&["copy", "last delta", "copy fails", "last delta fails"]);
        let wants_engine = match self.process {
            Process::EngineOfSource => in_one_of(&["stop", "keep", "starts again"]),
            Process::EngineOfTarget => in_one_of(&["prepare", "start"]),
            _ => false,
        };
        match (self.fault, self.process) {
            (Fault::Killed, _) => SHORT,
            (Fault::Frozen, _) if wants_engine => LONGER_THAN_AN_ENGINE,
            (
                _,
                Process::AgentOfSource
                | Process::AgentOfTarget
                | Process::NodeOfSource
                | Process::NodeOfTarget
                | Process::Link,
            ) if streams => LONGER_THAN_A_STREAM,
            _ => LONG,
        }
    }

    /// What it is called in the table.
    pub(super) fn key(&self) -> [&'static str; 4] {
        [
            self.operation.name(),
            self.step.name,
            self.process.name(),
            self.fault.name(),
        ]
    }

    /// A cell by its names.
    pub(super) fn of(operation: Operation, step: &str, process: Process, fault: Fault) -> Self {
        let found = operation.steps().iter().find(|one| one.name == step);
        Self {
            operation,
            step: *found.unwrap_or_else(|| panic!("{operation:?} has no step {step}")),
            process,
            fault,
        }
    }
}
