//! What an agent's core is told, and what it asks its shell to do.

use super::ledger::Ledger;
use crate::cluster::Network;
use flocker_types::ids::{BootId, Epoch, NodeId, ServiceId, SnapshotName, TaskId, VolumeId};
use flocker_types::link::{AgentMessage, ToAgent};
use flocker_types::task::{
    ContainerSpec, CopyVolume, Failure, IncomingVolume, Peer, Prepared, TaskOutcome, TaskProgress,
    VolumeClaim,
};
use flocker_types::volume::{PoolUsage, VolumeCopy, VolumeLabel};
use std::net::Ipv4Addr;

/// One piece of work of the shell, numbered by the core; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Something happened on the node.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The link to control is up; the core answers with a hello.
    LinkUp,
    /// It is down.
    LinkDown,
    /// Control said something. Never a heartbeat.
    Control(ToAgent),
    /// A job ended.
    JobDone {
        /// Which.
        job: JobId,
        /// How.
        result: Result<JobOutcome, Failure>,
    },
    /// A copy or a prepare job goes on.
    JobProgress {
        /// Which.
        job: JobId,
        /// How far.
        progress: TaskProgress,
    },
    /// A container of ours started by a `Run` job answers: its health check passes, or its port
    /// accepts connections.
    Ready {
        /// Whose.
        service: ServiceId,
    },
    /// A container's health check began to fail.
    Unhealthy {
        /// Whose.
        service: ServiceId,
        /// The check's last words.
        message: String,
    },
    /// A container of ours ended by itself (or by somebody's hand).
    Exited {
        /// Whose.
        service: ServiceId,
        /// Its exit code.
        code: i64,
    },
    /// The container engine was away and is back: this is what is there now.
    Containers(Vec<ContainerSeen>),
    /// A volume's copy on this node is so now: a stream was received, or a job that did not succeed
    /// has touched it. A copy may have left its snapshot, a start may have made this node the holder;
    /// this comes before that job's end.
    Volume(VolumeCopy),
    /// It was measured how much the live data of a volume refers to. Says nothing about the copy
    /// otherwise, which may have changed since the measurement began.
    VolumeUsed {
        /// The volume.
        volume: VolumeId,
        /// How much.
        used_bytes: u64,
    },
    /// The pool's usage was measured.
    Pool(PoolUsage),
    /// Another node asks to send a volume here. Answered by [`Command::Admit`].
    Incoming {
        /// To answer with.
        job: JobId,
        /// Who asks, from its certificate.
        from: NodeId,
        /// Which volume.
        volume: VolumeId,
        /// The sender's epoch.
        epoch: Epoch,
    },
    /// Time passes; at least every second, and at the latest at `Agent::next_deadline`.
    Tick,
}

/// A container of ours as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSeen {
    /// Whose.
    pub service: ServiceId,
    /// Fingerprint of the request that made it.
    pub fingerprint: String,
    /// Its image.
    pub image_id: String,
    /// TCP ports that its image exposes.
    pub exposed_ports: Vec<u16>,
    /// Its address.
    pub address: Ipv4Addr,
    /// What it does.
    pub run: ContainerRunSeen,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerRunSeen {
    /// It was never started.
    Created,
    /// It runs. Whether it is ready comes as [`Event::Ready`]: the shell watches every container
    /// that it reports as running.
    Running,
    /// It ended.
    Exited {
        /// Its exit code, once it is known.
        code: Option<i64>,
    },
}

/// What there was when the agent's process started.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// This node.
    pub node: NodeId,
    /// This start of the kernel.
    pub boot: BootId,
    /// What the agent had written down; empty on the first start.
    pub ledger: Ledger,
    /// The copies on the pool.
    pub volumes: Vec<VolumeCopy>,
    /// Our containers.
    pub containers: Vec<ContainerSeen>,
    /// Everything else of the hello that does not change: versions, addresses, storage.
    pub hello: flocker_types::link::AgentHello,
    /// Addresses for containers on this node.
    pub container_network: Network,
}

/// What a step leads to. First the ledger, if any, becomes durable; then the commands are carried
/// out in order.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// The whole ledger, when it changed.
    pub ledger: Option<Ledger>,
    /// What to do then.
    pub commands: Vec<Command>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this to control; dropped when the link is down.
    Send(AgentMessage),
    /// Begin a job. Ends with [`Event::JobDone`], also when cancelled.
    Begin(JobId, Job),
    /// Stop a job as soon as possible; what it has done so far is left in a state from which the
    /// same job can be begun again.
    Cancel(JobId),
    /// Answer to [`Event::Incoming`]: the label under which to receive, or why not.
    Admit(JobId, Result<VolumeLabel, Failure>),
    /// Stream a container's log to control, as `AgentMessage::Log` with this request's number.
    Logs {
        /// The request.
        request: u64,
        /// Whose.
        service: ServiceId,
        /// Last lines only.
        tail: Option<u32>,
        /// Whether to go on.
        follow: flocker_types::link::Follow,
    },
    /// Stop doing so.
    LogsEnd {
        /// The request.
        request: u64,
    },
}

/// A finite piece of work for the shell. Every job may be begun again after it was cut off anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// `VolumeStore::create`.
    CreateVolume {
        /// Its label.
        label: VolumeLabel,
    },
    /// Check the room on the pool, get the image (here already by id or name; else from its
    /// registry; else from the peers, one after the other), and create the container, unless one
    /// of another fingerprint still runs (then only the image is made ready).
    Prepare {
        /// The service.
        service: ServiceId,
        /// Its container.
        container: Box<ContainerSpec>,
        /// The container's address here.
        address: Ipv4Addr,
        /// The request's fingerprint.
        fingerprint: String,
        /// What will be received; the pool needs that much room.
        incoming: Vec<IncomingVolume>,
        /// Who may have the image.
        image_peers: Vec<Peer>,
        /// Give up without progress for this long.
        stall_limit_ms: u64,
    },
    /// Promote or check each claimed volume, relabel it where label or size differ, create the
    /// container if it is not there with this fingerprint (replacing one that does not run), start
    /// it. Then watch it: [`Event::Ready`], [`Event::Unhealthy`], [`Event::Exited`] follow.
    Run {
        /// The service.
        service: ServiceId,
        /// Its container.
        container: Box<ContainerSpec>,
        /// The container's address here.
        address: Ipv4Addr,
        /// The request's fingerprint.
        fingerprint: String,
        /// Its volumes.
        volumes: Vec<VolumeClaim>,
    },
    /// Stop the container.
    Stop {
        /// The service.
        service: ServiceId,
        /// Time between its stop signal and SIGKILL, in milliseconds.
        grace_ms: u64,
    },
    /// Remove the container, which has stopped.
    RemoveContainer {
        /// The service.
        service: ServiceId,
    },
    /// Snapshot and send, volume after volume.
    Copy {
        /// The task it serves, for log lines.
        task: TaskId,
        /// What.
        volumes: Vec<CopyVolume>,
        /// Whither.
        target: Peer,
        /// Give up without progress for this long.
        stall_limit_ms: u64,
    },
    /// `VolumeStore::demote`.
    Demote {
        /// The volume.
        volume: VolumeId,
        /// The new holder's epoch.
        epoch: Epoch,
        /// Where the new holder began.
        head: SnapshotName,
    },
    /// `VolumeStore::prune`.
    Prune {
        /// The volume.
        volume: VolumeId,
        /// What goes, as far as it is there.
        delete: Vec<SnapshotName>,
    },
    /// `VolumeStore::destroy`.
    Destroy {
        /// The volume.
        volume: VolumeId,
    },
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// It is done.
    Done,
    /// A volume's copy is now so (create, demote, prune, and each promoted volume of a run).
    Volumes(Vec<VolumeCopy>),
    /// A volume's copy is gone.
    Gone(VolumeId),
    /// The image is here, and the container too where it could be made.
    Prepared(Prepared),
    /// The container was started (or ran already).
    Running {
        /// Its image, ports and address.
        prepared: Prepared,
        /// The volumes as they are now.
        volumes: Vec<VolumeCopy>,
    },
    /// The container has ended, or there is none.
    Stopped {
        /// Its exit code, where that is known by now.
        code: Option<i64>,
    },
    /// The volumes were sent.
    Task(TaskOutcome),
}
