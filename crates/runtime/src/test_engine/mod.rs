//! A private Docker engine for tests: own network namespace, own data in memory, own socket.
//!
//! Tests of this crate and of others that need a real engine start one each (about half a second).
//! It ends with its value, and also when the test process is killed: a supervising shell waits for
//! the end of a pipe that only this process holds. It never touches the machine's own engine.

mod rootfs;

pub use rootfs::TestImage;

use bollard::API_DEFAULT_VERSION;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const SUPERVISE: &str = include_str!("supervise.sh");
/// An engine on a busy machine answers well within this.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of the engine's log, shown when it does not start.
const LOG_LINES_SHOWN: usize = 20;

/// The engine could not be started or used.
#[derive(Debug, thiserror::Error)]
#[error("the test's Docker engine: {what}")]
pub struct TestEngineError {
    /// What went wrong, and what to do.
    pub what: String,
}

pub(crate) fn failed(what: impl Into<String>) -> TestEngineError {
    TestEngineError { what: what.into() }
}

/// A Docker engine of its own; ends when dropped.
#[derive(Debug)]
pub struct TestEngine {
    directory: PathBuf,
    name: String,
    /// Its standard input is the pipe whose end ends the engine.
    supervisor: Child,
}

impl TestEngine {
    /// Starts an engine and waits until it answers. Needs root and the packages `docker.io`,
    /// `iproute2`, `util-linux` and `mount`.
    ///
    /// # Errors
    /// When it does not answer within a minute; with the end of its log.
    pub async fn start() -> Result<Self, TestEngineError> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("flk-engine-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&directory)
            .map_err(|error| failed(format!("cannot make {}: {error}", directory.display())))?;
        let supervisor = start_supervisor(&directory, &name)
            .map_err(|error| failed(format!("cannot start its supervising shell: {error}")))?;
        let mut engine = Self {
            directory,
            name,
            supervisor,
        };
        engine.wait_until_up().await?;
        Ok(engine)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// A directory on a shared mount: what is mounted in it later reaches the engine's containers.
    pub fn shared_directory(&self) -> PathBuf {
        self.directory.join("shared")
    }

    /// The file that stands for its network namespace.
    pub fn network_namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A command that runs in the engine's network namespace, where containers can be reached.
    pub fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("nsenter");
        command
            .arg(format!("--net={}", self.network_namespace().display()))
            .arg(program)
            .kill_on_drop(true);
        command
    }

    /// The engine's API, for what only tests do.
    ///
    /// # Errors
    /// When its socket is gone.
    pub async fn client(&self) -> Result<bollard::Docker, TestEngineError> {
        let client = self.connect()?;
        client
            .version()
            .await
            .map_err(|error| failed(format!("it does not answer: {error}")))?;
        Ok(client)
    }

    fn connect(&self) -> Result<bollard::Docker, TestEngineError> {
        // The oldest version that the tests' engines speak.
        let mut version = *API_DEFAULT_VERSION;
        (version.major_version, version.minor_version) = (1, 41);
        bollard::Docker::connect_with_unix(&self.socket().to_string_lossy(), 60, &version)
            .map_err(|error| failed(error.to_string()))
    }

    /// Kills the engine's daemon, as a crash would. Its containers go on.
    ///
    /// # Errors
    /// When its process cannot be found.
    pub fn kill(&self) -> Result<(), TestEngineError> {
        let path = self.directory.join("docker.pid");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
        let pid = text
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(format!("its pid file says \"{text}\"")))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .map_err(|error| failed(format!("cannot kill process {pid}: {error}")))
    }

    async fn wait_until_up(&mut self) -> Result<(), TestEngineError> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(client) = self.connect()
                && client.ping().await.is_ok()
            {
                return Ok(());
            }
            let ended = self.supervisor.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() >= deadline {
                return Err(failed(format!(
                    "it did not answer within {} s ({ended:?}); its log ends with:\n{}",
                    START_LIMIT.as_secs(),
                    log_end(&self.directory.join("docker.log")),
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // Bounded by the shell's own loops; waited for so that nothing outlives the test.
        let _ended = self.supervisor.wait();
    }
}

fn start_supervisor(directory: &Path, name: &str) -> io::Result<Child> {
    let log = std::fs::File::create(directory.join("supervisor.log"))?;
    Command::new("setsid")
        .args(["sh", "-c", SUPERVISE, "flocker-test-engine"])
        .arg(directory)
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

fn log_end(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
