//! The sandbox and what is deployed on it, by the commands that a person would use.

use super::Subject;
use super::options::Options;
use super::table::say;
use anyhow::{Context, Result, anyhow};
use flocker_testkit::images::{self, Image};
use flocker_testkit::load::{Writers, fill_postgres};
use flocker_testkit::sandbox::{NodePlace, Sandbox, SandboxGuard, SandboxSpec};
use flocker_testkit::tool::Tool;
use flocker_testkit::wait::{self, WaitError};
use flocker_types::api::OperationView;
use flocker_types::operation::OperationStatus;
use flocker_types::volume::StorageKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const PASSWORD: &str = "tea-and-biscuits";
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
const ROWS_LIMIT: Duration = Duration::from_secs(60);
const FILL_LIMIT: Duration = Duration::from_secs(120);
/// Values that are sent before their answers are awaited.
const BATCH_VALUES: u32 = 256;
/// Bytes of one value that Redis is filled with.
const VALUE_BYTES: usize = 1_024;

/// Two nodes, and Flocker on them.
pub(crate) struct Cluster {
    pub(crate) sandbox: SandboxGuard,
    flocker: PathBuf,
    directory: tempfile::TempDir,
}

impl Subject {
    pub(crate) fn image(self) -> Image {
        match self {
            Self::Postgres => Image::Postgres,
            Self::Redis => Image::Redis,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    fn manifest(self) -> String {
        let more = match self {
            Self::Postgres => format!(
                "    environment: {{POSTGRES_DB: shop, POSTGRES_PASSWORD: {PASSWORD}}}\n\
                 \x20   ports: [\"5432:5432\"]\n\
                 \x20   volumes: [\"data:/var/lib/postgresql/data\"]\n"
            ),
            Self::Redis => "    command: [redis-server, --appendonly, \"yes\"]\n\
                 \x20   ports: [\"6379:6379\"]\n\
                 \x20   volumes: [\"data:/data\"]\n"
                .to_owned(),
        };
        format!(
            "name: {name}\nservices:\n  {name}:\n    image: {image}\n    stop_grace_period: 60s\n{more}\
             volumes:\n  data: {{}}\n",
            name = self.name(),
            image = self.image().name()
        )
    }
}

impl Cluster {
    pub(crate) async fn up(options: &Options) -> Result<Self> {
        let flocker = flocker_program()?;
        let spec = SandboxSpec {
            name: options.name.parse()?,
            nodes: 2,
            storage: StorageKind::Btrfs,
            pool_bytes: options.data_bytes.saturating_mul(6).max(4 << 30),
        };
        // One whose measurement was killed.
        Sandbox::down(&spec.name).await?;
        say(&format!("two nodes, {} ...", flocker.display()));
        let sandbox = SandboxGuard::up(&spec, &flocker).await?;
        let sockets: Vec<PathBuf> = sandbox
            .nodes()
            .iter()
            .map(NodePlace::docker_socket)
            .collect();
        images::provide(&sockets, &[Image::Postgres, Image::Redis]).await?;
        let directory = tempfile::tempdir()?;
        Ok(Self {
            sandbox,
            flocker,
            directory,
        })
    }

    fn tool(&self, words: &[&str]) -> Tool {
        let context = self.sandbox.record().context();
        Tool::new(&self.flocker)
            .args(words)
            .args(["--context", &context])
            .limit(COMMAND_LIMIT)
    }

    /// On the first node.
    pub(crate) async fn deploy(&self, subject: Subject) -> Result<()> {
        let name = subject.name();
        let application = self.directory.path().join(format!("{name}.yml"));
        let places = self.directory.path().join("servers.yml");
        std::fs::write(&application, subject.manifest())?;
        std::fs::write(&places, format!("version: 1\nnodes:\n  n1: [\"{name}\"]\n"))?;
        let deploy = self
            .tool(&["deploy", "--yes"])
            .args([&places, &application]);
        deploy.run().await.context("deploy")?;
        Ok(())
    }

    /// Its container goes, so that it does not use up the machine while the other is measured.
    pub(crate) async fn remove(&self, subject: Subject) -> Result<()> {
        let service = format!("{0}/{0}", subject.name());
        self.tool(&["rm", &service]).run().await.context("rm")?;
        Ok(())
    }

    pub(crate) async fn move_to(&self, subject: Subject, to: &str) -> Result<OperationView> {
        let service = format!("{0}/{0}", subject.name());
        let printed = self.tool(&["move", &service, to, "--json"]).run().await;
        let printed = printed.with_context(|| format!("move to {to}"))?;
        let operations: Vec<OperationView> = serde_json::from_str(&printed)?;
        let latest = operations.into_iter().next_back();
        let latest = latest.ok_or_else(|| anyhow!("nothing moved"))?;
        anyhow::ensure!(
            latest.operation.status == OperationStatus::Succeeded,
            "the move to {to} ended as {:?}",
            latest.operation.status
        );
        Ok(latest)
    }

    /// How clients reach PostgreSQL by way of a node.
    pub(crate) fn postgres(&self, by: &str) -> Result<tokio_postgres::Config> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.sandbox.node(by)?.address.to_string())
            .user("postgres")
            .password(PASSWORD)
            .dbname("shop");
        Ok(config)
    }

    /// How clients reach Redis by way of a node.
    pub(crate) fn redis(&self, by: &str) -> Result<SocketAddr> {
        Ok((self.sandbox.node(by)?.address, 6379).into())
    }
}

/// Waits until the clients have had some more rows acknowledged.
pub(crate) async fn more_rows(writers: &Writers, rows: u64) -> Result<(), WaitError> {
    let aim = writers.acknowledged() + rows;
    let look = || async { Ok((writers.acknowledged() >= aim).then_some(())) };
    wait::until("the clients' rows to be acknowledged", ROWS_LIMIT, look).await
}

/// Fills PostgreSQL, once it serves: its port answers before that.
pub(crate) async fn fill(config: &tokio_postgres::Config, bytes: u64) -> Result<()> {
    let serves = || async { Ok(config.connect(tokio_postgres::NoTls).await.ok()) };
    let what = "PostgreSQL to serve";
    drop(wait::until::<_, WaitError, _, _>(what, ROWS_LIMIT, serves).await?);
    fill_postgres(config, bytes).await?;
    Ok(())
}

/// Gives Redis so much to keep, in values that do not compress.
pub(crate) async fn fill_redis(address: SocketAddr, bytes: u64) -> Result<()> {
    let filling = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut answer = String::new();
        let values = bytes / VALUE_BYTES as u64;
        let mut commands = String::new();
        let mut unanswered = 0;
        for number in 0..values {
            let mut value = String::with_capacity(VALUE_BYTES);
            while value.len() < VALUE_BYTES {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                value.push_str(&format!("{state:016x}"));
            }
            commands.push_str(&format!("SET filler:{number} {value}\r\n"));
            unanswered += 1;
            if unanswered < BATCH_VALUES && number + 1 < values {
                continue;
            }
            stream.write_all(commands.as_bytes()).await?;
            commands.clear();
            for _ in 0..std::mem::take(&mut unanswered) {
                answer.clear();
                stream.read_line(&mut answer).await?;
                anyhow::ensure!(answer.starts_with("+OK"), "Redis answers {answer}");
            }
        }
        Ok(())
    };
    tokio::time::timeout(FILL_LIMIT, filling).await?
}

/// The `flocker` that was built with this program, unless the environment names another.
fn flocker_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FLOCKER_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("cannot find this program's own place")?;
    let flocker = own.with_file_name("flocker");
    anyhow::ensure!(
        flocker.exists(),
        "{} is not there; build it with `cargo build --bins`, or set FLOCKER_BIN",
        flocker.display()
    );
    Ok(flocker)
}
