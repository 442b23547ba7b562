//! Starting an agent: pool, engine, ledger, what is there, and then the loop.

use crate::config::AgentConfig;
use crate::ledger_file::{LedgerError, LedgerFile};
use crate::shell::{Shell, ShellInput};
use crate::volume_usage::UsageBell;
use crate::watch::Watcher;
use crate::{pool_watch, streams, volume_usage};
use flocker_core::agent::Start;
use flocker_net::link::{AGENT_PATH, Link, LinkTarget, run_with_reconnect};
use flocker_net::renewal::{CertificateKeeper, CertificatePlace, Turn};
use flocker_net::tls::{CredentialFiles, RevocationsError};
use flocker_runtime::docker::{Docker, DockerConfig};
use flocker_runtime::{Runtime, RuntimeError};
use flocker_storage::{Pool, StorageError, VolumeStore};
use flocker_types::ids::BootId;
use flocker_types::link::{AgentHello, AgentMessage, ToAgent};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Inputs of the loop that may wait.
const INPUTS_MAX: usize = 1_024;
/// In the agent's directory: what control has said is revoked.
const REVOKED_FILE_NAME: &str = "revoked.json";
/// An engine that does not answer at the start is asked again this often.
const ENGINE_RETRY: Duration = Duration::from_secs(1);

/// An agent that cannot start, or must stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The pool.
    #[error("the pool cannot be opened")]
    Pool(#[from] StorageError),
    /// The engine refuses us.
    #[error("the container engine cannot be used")]
    Engine(#[from] RuntimeError),
    /// The ledger.
    #[error("the agent cannot remember what it is told")]
    Ledger(#[from] LedgerError),
    /// It is not known what is revoked.
    #[error("an agent does not start without knowing whose certificates are revoked")]
    Revoked(#[from] RevocationsError),
    /// A file or the network.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
}

impl AgentError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

/// Everything on a node that jobs work with.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) config: Arc<AgentConfig>,
    pub(crate) store: Arc<dyn VolumeStore>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) watcher: Watcher,
    pub(crate) usage_bell: UsageBell,
    pub(crate) inputs: mpsc::Sender<ShellInput>,
}

/// Runs an agent until it is told to stop. Containers go on running after it.
///
/// # Errors
/// [`AgentError`]: the agent cannot work at all; somebody has to look.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    let agent_dir = config.state_dir.join("agent");
    std::fs::create_dir_all(&agent_dir).map_err(AgentError::io(format!(
        "cannot make {}",
        agent_dir.display()
    )))?;
    let place = CertificatePlace {
        control: config.control,
        directory: config.certificates.clone(),
        files: CredentialFiles::NODE,
        revoked: agent_dir.join(REVOKED_FILE_NAME),
    };
    config.credentials.revocations().load(&place.revoked)?;
    let keeper = CertificateKeeper::new(config.credentials.clone(), place);
    let pool = Pool::open(&config.pool, &config.state_dir).await?;
    tracing::info!(pool = %pool.spec(), "the pool is open");
    let Some(runtime) = engine(&config, &shutdown).await? else {
        return Ok(());
    };
    let ledger = LedgerFile::new(&agent_dir);
    let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
    let config = Arc::new(config);
    let node = Node {
        store: pool.store(),
        watcher: Watcher::new(Arc::clone(&runtime), inputs.clone()),
        usage_bell: UsageBell::default(),
        runtime,
        inputs: inputs.clone(),
        config: Arc::clone(&config),
    };
    let listener = streams::listen(&node).await?;
    let start = look_around(&node, &ledger).await?;
    let shell = Shell::new(node.clone(), ledger, start, receiver)?;

    let target = LinkTarget {
        control: config.control,
        credentials: config.credentials.clone(),
        path: AGENT_PATH,
        limits: config.link,
    };
    let link_inputs = inputs.clone();
    let noticing = keeper.clone();
    let link = run_with_reconnect(target, shutdown.clone(), move |link| {
        keep_link(link, link_inputs.clone(), noticing.clone())
    });
    tokio::select! {
        result = shell.run(shutdown.clone()) => result,
        () = link => Ok(()),
        () = keeper.run(Turn::First) => Ok(()),
        () = node.watcher.clone().run() => Ok(()),
        () = pool_watch::run(node.clone()) => Ok(()),
        () = volume_usage::run(node.clone()) => Ok(()),
        () = streams::serve(listener, node.clone()) => Ok(()),
    }
}

/// One link: its messages become inputs of the loop until it closes.
async fn keep_link(
    link: Link<AgentMessage, ToAgent>,
    inputs: mpsc::Sender<ShellInput>,
    keeper: CertificateKeeper,
) {
    let Link {
        sender,
        mut receiver,
        handle: _handle,
    } = link;
    if inputs.send(ShellInput::LinkUp(sender)).await.is_err() {
        return;
    }
    while let Some(message) = receiver.recv().await {
        if let ToAgent::Access(notice) = message {
            keeper.notice(notice);
            continue;
        }
        if inputs.send(ShellInput::Control(message)).await.is_err() {
            return;
        }
    }
    // If nobody takes it the loop has ended, and so does everything.
    let _ = inputs.send(ShellInput::LinkDown).await;
}

/// The engine, once it answers. An engine that refuses us is an error; one that is merely away is
/// waited for.
async fn engine(
    config: &AgentConfig,
    shutdown: &CancellationToken,
) -> Result<Option<Arc<dyn Runtime>>, AgentError> {
    loop {
        let docker = DockerConfig {
            socket: config.docker.clone(),
            cluster: config.cluster,
            container_network: config.container_network.to_string(),
            gates: config.state_dir.join("agent").join("gates"),
        };
        match Docker::connect(docker).await {
            Ok(docker) => return Ok(Some(Arc::new(docker))),
            Err(error) if error.retry_can_help() => {
                tracing::warn!(%error, "waiting for the container engine");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = sleep(ENGINE_RETRY) => {}
        }
    }
}

/// What there is on the node.
async fn look_around(node: &Node, ledger: &LedgerFile) -> Result<Start, AgentError> {
    let config = &node.config;
    let boot = boot_id()?;
    let pool = node.store.pool_usage().await?;
    let hello = AgentHello {
        cluster: config.cluster,
        node: config.node,
        name: Some(config.name.clone()),
        boot,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stream_address: (config.node_address, config.stream_listen.port()).into(),
        node_address: config.node_address,
        storage: node.store.kind(),
        pool,
        volumes: Vec::new(),
        services: Vec::new(),
    };
    Ok(Start {
        node: config.node,
        boot,
        ledger: ledger.load()?,
        volumes: node.store.list().await?,
        containers: node.watcher.look().await?,
        hello,
        container_network: config.container_network,
    })
}

fn boot_id() -> Result<BootId, AgentError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text =
        std::fs::read_to_string(path).map_err(AgentError::io(format!("cannot read {path}")))?;
    text.trim().parse().map_err(|error| AgentError::Io {
        what: format!("{path} has no boot id"),
        source: std::io::Error::other(error),
    })
}
