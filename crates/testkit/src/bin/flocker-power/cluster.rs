//! The cluster that is cut: n1 with control in a sandbox of this machine, n2 and n3 virtual machines
//! on its bridge, and a PostgreSQL on one of them.
//!
//! Uses Flocker only by its commands, as a person would. Made anew after a run that failed.

use anyhow::{Context, Result, anyhow, ensure};
use flocker_testkit::images::{self, Image};
use flocker_testkit::machines::{Guest, Machine, MachineSpec};
use flocker_testkit::sandbox::{
    NodePlace, Sandbox, SandboxGuard, SandboxName, SandboxRecord, SandboxSpec, Subnet,
};
use flocker_testkit::tool::Tool;
use flocker_types::api::{LinkView, OperationView};
use flocker_types::app::container_name;
use flocker_types::volume::StorageKind;
use futures_util::future::try_join_all;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

const NAME: &str = "power";
pub(crate) const SERVICE: &str = "power/db";
const PASSWORD: &str = "secret";
const POOL_BYTES: u64 = 4 << 30;
/// Everything takes long on a processor that is a program.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const SCRIPT_LIMIT: Duration = Duration::from_secs(600);
const DEPLOY_LIMIT: Duration = Duration::from_secs(600);
/// An image is unpacked, file by file.
const LOAD_LIMIT: Duration = Duration::from_secs(900);
/// The last numbers of the machines' addresses.
const MACHINES: [u8; 2] = [2, 3];
/// What a container runs that waits for its volumes.
const GATE: &str = "/.flocker-gate";
const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// A stop takes its time, so that it can be hit. While the database is made, which takes minutes here,
/// something else answers at its port: a start may take two minutes only.
const MANIFEST: &str = r#"
name: power
services:
  db:
    image: postgres:15
    command:
      - sh
      - -c
      - |
        trap 'sleep 0.7; kill -INT $$p; wait $$p; exit 0' TERM
        if [ ! -s $$PGDATA/PG_VERSION ]; then
          nc -ll -p 5432 -e sleep 5 & w=$$!
          docker-entrypoint.sh postgres --version
          kill $$w
        fi
        docker-entrypoint.sh postgres & p=$$!
        wait $$p
    stop_signal: SIGTERM
    stop_grace_period: 60s
    environment: {POSTGRES_PASSWORD: secret}
    ports: ["5432:5432"]
    volumes: ["data:/var/lib/postgresql/data"]
    restart: always
volumes:
  data: {}
"#;
const PLACES: &str = "version: 1\nnodes:\n  n2: [db]\n";

/// Where what the test needs was put.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The program under test.
    pub(crate) flocker: PathBuf,
    /// What `build-guest.sh` made.
    pub(crate) guest: PathBuf,
}

/// The cluster.
pub(crate) struct Cluster {
    // Before the sandbox, on whose bridge they are.
    pub(crate) machines: Vec<Machine>,
    sandbox: SandboxGuard,
    flocker: PathBuf,
}

impl Cluster {
    /// Makes all of it, with an empty database on n2.
    pub(crate) async fn up(places: &Places, storage: StorageKind, seed: u64) -> Result<Self> {
        let spec = SandboxSpec {
            name: NAME.parse()?,
            nodes: 1,
            storage: StorageKind::Btrfs,
            pool_bytes: 1 << 30,
        };
        clear(&spec.name).await?;
        let sandbox = SandboxGuard::up(&spec, &places.flocker).await?;
        let sockets: Vec<PathBuf> = sandbox
            .nodes()
            .iter()
            .map(NodePlace::docker_socket)
            .collect();
        images::provide(&sockets, &[Image::Postgres]).await?;
        let directory = sandbox.record().directory();
        let guest = Guest {
            directory: places.guest.clone(),
            program: program_image(&places.flocker, &directory).await?,
        };
        let mut cluster = Self {
            machines: Vec::new(),
            sandbox,
            flocker: places.flocker.clone(),
        };
        let state = cluster.prepared_state(places, &guest, storage).await?;
        for last in MACHINES {
            let spec = cluster.machine_spec(last, storage, guest.clone(), Some(state.clone()));
            let machine = Machine::make(spec, seed ^ u64::from(last)).await?;
            cluster.machines.push(machine);
        }
        try_join_all(
            cluster
                .machines
                .iter()
                .map(|machine| cluster.enrol(machine)),
        )
        .await?;
        cluster.await_connected(BOOT_LIMIT).await?;
        cluster.deploy(&directory).await?;
        Ok(cluster)
    }

    fn machine_spec(
        &self,
        last: u8,
        storage: StorageKind,
        guest: Guest,
        state: Option<PathBuf>,
    ) -> MachineSpec {
        let record = self.sandbox.record();
        MachineSpec {
            name: format!("n{last}"),
            address: record.subnet.address(last),
            gateway: record.subnet.bridge_address(),
            bridge: record.bridge(),
            cable: cable(record.subnet, last),
            directory: machine_directory(record, last),
            storage,
            pool_bytes: POOL_BYTES,
            guest,
            state,
        }
    }

    /// The state of a machine whose engine has the database's image, which takes minutes to load:
    /// made once by a machine of its own.
    async fn prepared_state(
        &self,
        places: &Places,
        guest: &Guest,
        storage: StorageKind,
    ) -> Result<PathBuf> {
        let archive = images::archive_of(Image::Postgres).await?;
        let stem = archive.file_stem().unwrap_or_default().to_string_lossy();
        let state = places.guest.join(format!("state-{stem}.img"));
        if state.exists() {
            return Ok(state);
        }
        let spec = self.machine_spec(MACHINES[0], storage, guest.clone(), None);
        let directory = spec.directory.clone();
        let machine = Machine::make(spec, 0).await?;
        await_engine(&machine).await?;
        let load = "docker load -q -i /program/postgres.tar";
        machine.script(load, LOAD_LIMIT).await?;
        machine.save_state(&state).await?;
        drop(machine);
        Machine::clear(
            &directory,
            &cable(self.sandbox.record().subnet, MACHINES[0]),
        )
        .await?;
        fs::remove_dir_all(&directory)?;
        Ok(state)
    }

    /// Makes a machine a node.
    async fn enrol(&self, machine: &Machine) -> Result<()> {
        await_engine(machine).await?;
        let token = self.flocker(&["token"]).run().await?;
        let join = format!(
            "/program/flocker join {} --token {} --name {} --address {} \
             --state-dir /data/flocker --pool {} --no-start && sync && /sbin/guest-init joined",
            self.sandbox.node("n1")?.address,
            token.trim(),
            machine.name(),
            machine.address(),
            machine.pool_spec(),
        );
        machine.script(&join, SCRIPT_LIMIT).await?;
        Ok(())
    }

    async fn deploy(&self, directory: &Path) -> Result<()> {
        let files = [("compose.yml", MANIFEST), ("deployment.yml", PLACES)];
        let mut words = vec!["deploy".to_owned(), "--yes".to_owned()];
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text)?;
            words.push(path.display().to_string());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.flocker(&words)
            .limit(DEPLOY_LIMIT)
            .run()
            .await
            .context("the database could not be deployed")?;
        Ok(())
    }

    /// A command of the command line.
    pub(crate) fn flocker(&self, words: &[&str]) -> Tool {
        let context = self.sandbox.record().context();
        Tool::new(&self.flocker)
            .args(words.iter().copied())
            .args(["--context", &context])
    }

    /// The sandbox that n1 is in.
    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// How clients reach the database by way of n1.
    pub(crate) fn database(&self) -> Result<tokio_postgres::Config> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.sandbox.node("n1")?.address.to_string())
            .user("postgres")
            .password(PASSWORD)
            .dbname("postgres")
            .connect_timeout(Duration::from_secs(20));
        Ok(config)
    }

    /// Begins a move and returns its operation's id.
    pub(crate) async fn start_move(&self, to: &str) -> Result<String> {
        let printed = self
            .flocker(&["move", SERVICE, to, "--detach"])
            .run()
            .await?;
        let id = printed.split_whitespace().next_back();
        Ok(id.ok_or_else(|| anyhow!("no operation began"))?.to_owned())
    }

    /// An operation as it is now; none when control does not answer.
    pub(crate) async fn operation(&self, id: &str) -> Result<Option<OperationView>> {
        let shown = self
            .flocker(&["operation", "show", id, "--json"])
            .output()
            .await?;
        Ok(serde_json::from_slice(&shown.stdout).ok())
    }

    /// Whether every agent and proxy is connected.
    pub(crate) async fn is_connected(&self) -> Result<bool> {
        let is_up = |link| matches!(link, LinkView::Connected(_));
        let view = self.sandbox.status().await?;
        Ok(view.is_some_and(|view| {
            let mut nodes = view.nodes.iter();
            view.nodes.len() == 3 && nodes.all(|node| is_up(node.agent) && is_up(node.proxy))
        }))
    }

    /// Waits for that.
    pub(crate) async fn await_connected(&self, limit: Duration) -> Result<()> {
        slowly("all agents and proxies to connect", limit, || async {
            Ok(self.is_connected().await?.then_some(()))
        })
        .await
    }

    /// The machines, by their places in the list, on which the database's own command runs; none
    /// when one of them cannot be asked.
    pub(crate) async fn running_on(&self) -> Result<Option<Vec<usize>>> {
        let name = container_name(&SERVICE.parse()?);
        // {"name":["^/NAME$"],"status":["running"]}
        let ask = format!(
            "/containers/json?filters=%7B%22name%22%3A%5B%22%5E/{name}%24%22%5D%2C%22status%22%3A%5B%22running%22%5D%7D"
        );
        let mut found = Vec::new();
        for (index, machine) in self.machines.iter().enumerate() {
            match engine(machine, &ask).await {
                Ok(answer) if answer.contains(" 200 OK") => {
                    let listed = answer.matches("\"Id\":").count();
                    // To the engine one that waits at its gate runs, too.
                    let first = format!(
                        "head -c {} /proc/$(docker inspect -f '{{{{.State.Pid}}}}' {name})/cmdline",
                        GATE.len()
                    );
                    if listed > 0 {
                        match machine.script(&first, QUESTION_LIMIT).await {
                            Ok(program) if program.trim() == GATE => {}
                            Ok(_) => found.extend((0..listed).map(|_| index)),
                            Err(_not_now) => return Ok(None),
                        }
                    }
                }
                _not_now => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// PostgreSQL's own opinion of its files: every page of every table and index that it can
    /// check, and everything read out.
    pub(crate) async fn check_database(&self, on: usize) -> Result<()> {
        let name = container_name(&SERVICE.parse()?);
        let script = format!(
            "docker exec -e PGPASSWORD={PASSWORD} {name} sh -c '\
             psql -q -h 127.0.0.1 -U postgres -c \"CREATE EXTENSION IF NOT EXISTS amcheck\" && \
             pg_amcheck --all --install-missing --heapallindexed -h 127.0.0.1 -U postgres && \
             pg_dumpall -h 127.0.0.1 -U postgres > /dev/null'"
        );
        let limit = SCRIPT_LIMIT * 2;
        self.machines[on].script(&script, limit).await?;
        Ok(())
    }

    /// Copies what the processes said to a directory, for whoever looks into a failure.
    pub(crate) async fn save_logs(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let n1 = self.sandbox.node("n1")?;
        for role in ["control", "agent", "proxy"] {
            let _absent = fs::copy(n1.log(role), to.join(format!("n1-{role}.log")));
        }
        for machine in &self.machines {
            let name = machine.name();
            let _absent = fs::copy(machine.console(), to.join(format!("{name}-console.log")));
            let script = "tail -n 3000 /data/log/*.log; docker ps -a; dmesg | tail -100; \
                          zfs list -t all -o name,mounted,readonly,used,origin; ps ax";
            let text = machine.script(script, SCRIPT_LIMIT).await;
            let text = text.unwrap_or_else(|error| error.to_string());
            fs::write(to.join(format!("{name}.log")), text)?;
        }
        Ok(())
    }
}

/// Waits as `wait::until` does, without keeping slow machines busy with questions.
pub(crate) async fn slowly<T, F, L>(what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> L,
    L: Future<Output = Result<Option<T>>>,
{
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = Instant::now() + limit;
    loop {
        tick.tick().await;
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        ensure!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
    }
}

/// Waits until a machine has booted and its engine answers.
async fn await_engine(machine: &Machine) -> Result<()> {
    machine.await_shell(BOOT_LIMIT).await?;
    let what = format!("the engine of {}", machine.name());
    slowly(&what, BOOT_LIMIT, || async move {
        let answer = engine(machine, "/_ping").await.unwrap_or_default();
        Ok(answer.contains("OK").then_some(()))
    })
    .await
}

/// Asks a machine's engine by its API; the answer is with its head.
async fn engine(machine: &Machine, path: &str) -> Result<String> {
    let script = format!("/sbin/guest-init engine '{path}'");
    Ok(machine.script(&script, QUESTION_LIMIT).await?)
}

fn cable(subnet: Subnet, last: u8) -> String {
    format!("flkp{}-{last}", subnet.third)
}

fn machine_directory(record: &SandboxRecord, last: u8) -> PathBuf {
    record.directory().join(format!("machine-n{last}"))
}

/// Removes what a killed test has left.
async fn clear(name: &SandboxName) -> Result<()> {
    if let Some(record) = SandboxRecord::load(name)? {
        for last in MACHINES {
            let directory = machine_directory(&record, last);
            Machine::clear(&directory, &cable(record.subnet, last)).await?;
        }
    }
    Ok(Sandbox::down(name).await?)
}

/// A file system image with what a machine is given: the program, without what only debuggers read,
/// and the database's image.
async fn program_image(flocker: &Path, directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("program");
    fs::create_dir_all(&tree)?;
    let archive = images::archive_of(Image::Postgres).await?;
    fs::copy(archive, tree.join("postgres.tar"))?;
    Tool::new("strip")
        .arg("-o")
        .args([&tree.join("flocker"), flocker])
        .run()
        .await?;
    let image = directory.join("program.img");
    Tool::words("mkfs.ext4 -q -O ^has_journal -d")
        .args([&tree, &image])
        .arg("512M")
        .run()
        .await?;
    Ok(image)
}
