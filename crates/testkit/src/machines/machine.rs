//! One machine: its cable, its disks, its process, and a shell in it.
//!
//! Called by the power test. Everything of a machine is in its directory but the tap device; both are
//! gone when it is dropped.

use super::disk::{BLOCK_BYTES, CutReport, VolatileDisk};
use super::error::MachineError;
use super::nbd::DiskServer;
use crate::process::{ProcessRecord, start_detached};
use crate::tool::Tool;
use crate::wait;
use flocker_types::volume::StorageKind;
use nix::sys::signal::Signal;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the machine's `guest-init.sh` gives a shell to whoever connects.
const SHELL_PORT: u16 = 99;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const COPY_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(20);
/// Size of the disk with Docker's and Flocker's state.
const STATE_BYTES: u64 = 6 << 30;
/// Wide vector registers would be emulated word by word.
const CPU: &str = "max,-avx,-avx2,-f16c,-fma,-vaes,-vpclmulqdq,-la57,-smap,-smep,-pku";
const MEMORY_MIB: u32 = 1536;
/// Longest output of a script that is kept.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// Before the status of a script's shell, at the end of its output.
const STATUS_MARK: &str = "\nflocker-status ";

/// What a machine boots, as `build-guest.sh` has made it.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Where it made it.
    pub directory: PathBuf,
    /// A file system image with the Flocker program and what else the machine is given.
    pub program: PathBuf,
}

/// What machine to make.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The address of the bridge.
    pub gateway: Ipv4Addr,
    /// The bridge that its cable is plugged into.
    pub bridge: String,
    /// What its tap device is called.
    pub cable: String,
    /// Where everything of it is kept.
    pub directory: PathBuf,
    /// What its pool is made of.
    pub storage: StorageKind,
    /// The size of its pool's disk.
    pub pool_bytes: u64,
    /// What it boots.
    pub guest: Guest,
    /// A state disk as [`Machine::save_state`] has saved it; none for an empty one.
    pub state: Option<PathBuf>,
}

/// Whether the machine's disks are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    First,
    Again,
}

/// A machine, switched on or off.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    state: DiskServer,
    pool: DiskServer,
    process: Option<ProcessRecord>,
}

impl Machine {
    /// Takes away what a harness that was killed has left of a machine: its process, its cable.
    pub async fn clear(directory: &Path, cable: &str) -> Result<(), MachineError> {
        if let Some(process) = ProcessRecord::load(&directory.join("process"))? {
            process.signal(Signal::SIGKILL);
            let look =
                || async move { Ok::<_, MachineError>((!process.is_running()).then_some(())) };
            wait::until("an old machine to end", END_LIMIT, look).await?;
        }
        let _absent = Tool::words(&format!("ip link del {cable}"))
            .output()
            .await?;
        Ok(())
    }

    /// Makes a machine with empty disks and switches it on.
    pub async fn make(spec: MachineSpec, seed: u64) -> Result<Self, MachineError> {
        fs::create_dir_all(&spec.directory).map_err(MachineError::file("make", &spec.directory))?;
        if let Some(saved) = &spec.state {
            Tool::words("cp --sparse=always")
                .args([saved, &spec.directory.join("state")])
                .limit(COPY_LIMIT)
                .run()
                .await?;
        }
        let serve = |name: &str, bytes: u64| {
            let path = spec.directory.join(name);
            let socket = path.with_extension("socket");
            let disk = VolatileDisk::open(&path, bytes, seed)
                .map_err(MachineError::file("make the disk", &path))?;
            DiskServer::start(disk, &socket).map_err(MachineError::file("serve at", &socket))
        };
        let mut machine = Self {
            state: serve("state", STATE_BYTES)?,
            pool: serve("pool", spec.pool_bytes)?,
            process: None,
            spec,
        };
        let cable = &machine.spec.cable;
        for line in [
            format!("ip tuntap add dev {cable} mode tap"),
            format!("ip link set {cable} master {} up", machine.spec.bridge),
        ] {
            Tool::words(&line).run().await?;
        }
        machine.start(Boot::First)?;
        Ok(machine)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.spec.address
    }

    /// What its pool is called to `flocker join`.
    pub fn pool_spec(&self) -> &'static str {
        match self.spec.storage {
            StorageKind::Zfs => "zfs:tank",
            StorageKind::Btrfs => "btrfs:/run/tank",
        }
    }

    /// The file that its console is written to.
    pub fn console(&self) -> PathBuf {
        self.spec.directory.join("console")
    }

    /// Saves what is on the state disk, for machines that shall begin with it.
    pub async fn save_state(&self, to: &Path) -> Result<(), MachineError> {
        self.script("sync && fsfreeze -f /data", COPY_LIMIT).await?;
        let failed =
            |source| MachineError::file("flush the disks in", &self.spec.directory)(source);
        self.state.flush().map_err(failed)?;
        let draft = to.with_extension("new");
        Tool::words("cp --sparse=always")
            .args([&self.spec.directory.join("state"), &draft])
            .limit(COPY_LIMIT)
            .run()
            .await?;
        fs::rename(&draft, to).map_err(MachineError::file("rename", &draft))?;
        self.script("fsfreeze -u /data", COPY_LIMIT).await?;
        Ok(())
    }

    /// How much a cut could lose now, in versions of blocks of both disks.
    pub fn unflushed(&self) -> usize {
        self.state.unflushed() + self.pool.unflushed()
    }

    /// Pulls the plug: the processor stops where it is, and the disks lose what the seed says of
    /// what they had not been told to keep.
    pub async fn pull_plug(&mut self, seed: u64) -> Result<CutReport, MachineError> {
        if let Some(process) = self.process.take() {
            process.signal(Signal::SIGKILL);
            let what = format!("the machine {} to end", self.spec.name);
            let look =
                || async move { Ok::<_, MachineError>((!process.is_running()).then_some(())) };
            wait::until(&what, END_LIMIT, look).await?;
        }
        let failed = |source| MachineError::file("cut the disks in", &self.spec.directory)(source);
        let state = self.state.cut(seed).await.map_err(failed)?;
        let pool = self.pool.cut(seed.rotate_left(32)).await.map_err(failed)?;
        Ok(state + pool)
    }

    /// Puts the plug in again: the machine boots.
    pub fn plug_in(&mut self) -> Result<(), MachineError> {
        self.start(Boot::Again)
    }

    fn start(&mut self, boot: Boot) -> Result<(), MachineError> {
        let words = self.command_line(boot);
        let log = self.spec.directory.join("qemu.log");
        let process = start_detached("qemu-system-x86_64", &words, &[], &log)?;
        process.save(&self.spec.directory.join("process"))?;
        self.process = Some(process);
        Ok(())
    }

    fn command_line(&self, boot: Boot) -> Vec<String> {
        let spec = &self.spec;
        let guest = |name: &str| spec.guest.directory.join(name).display().to_string();
        let own = |name: &str| spec.directory.join(name).display().to_string();
        let kernel_words = format!(
            "console=ttyS0 quiet panic=1 mitigations=off nokaslr audit=0 apparmor=0 net.ifnames=0 \
             random.trust_cpu=on tsc=reliable clocksource=tsc init_on_alloc=0 ipv6.disable=1 rcupdate.rcu_expedited=1 nowatchdog zfs.zfs_arc_max=201326592 flk.name={} flk.address={} \
             flk.gateway={} flk.storage={} flk.new={}",
            spec.name,
            spec.address,
            spec.gateway,
            spec.storage,
            if boot == Boot::First { "yes" } else { "no" }
        );
        let read_only = |name: &str, file: String| {
            format!(
                "driver=raw,node-name={name},read-only=on,file.driver=file,file.filename={file}"
            )
        };
        let served = |name: &str| {
            let socket = own(&format!("{name}.socket"));
            format!(
                "driver=nbd,node-name={name},server.type=unix,server.path={socket},export={name}"
            )
        };
        let plain = |name: &str| format!("virtio-blk-pci,drive={name}");
        let caching = |name: &str| {
            format!(
                "virtio-blk-pci,drive={name},write-cache=on,logical_block_size={BLOCK_BYTES},\
                 physical_block_size={BLOCK_BYTES}"
            )
        };
        let address = spec.address.octets()[3];
        let words: Vec<(&str, String)> = vec![
            ("-name", spec.cable.clone()),
            ("-accel", "tcg,tb-size=256".to_owned()),
            ("-cpu", CPU.to_owned()),
            ("-machine", "pc,hpet=off".to_owned()),
            ("-smp", "1".to_owned()),
            ("-m", MEMORY_MIB.to_string()),
            ("-display", "none".to_owned()),
            ("-serial", format!("file:{}", own("console"))),
            ("-kernel", guest("kernel")),
            ("-initrd", guest("first.cpio")),
            ("-append", kernel_words),
            ("-device", "virtio-rng-pci".to_owned()),
            ("-blockdev", read_only("system", guest("root.img"))),
            ("-device", plain("system")),
            (
                "-blockdev",
                read_only("program", spec.guest.program.display().to_string()),
            ),
            ("-device", plain("program")),
            ("-blockdev", served("state")),
            ("-device", caching("state")),
            ("-blockdev", served("pool")),
            ("-device", caching("pool")),
            (
                "-netdev",
                format!("tap,id=net,ifname={},script=no,downscript=no", spec.cable),
            ),
            (
                "-device",
                format!("virtio-net-pci,netdev=net,mac=52:54:00:f1:0c:{address:02x},romfile="),
            ),
        ];
        let alone = ["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned);
        let pairs = words
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]);
        alone.into_iter().chain(pairs).collect()
    }

    /// Waits until the machine gives a shell, which is before its Flocker runs.
    pub async fn await_shell(&self, limit: Duration) -> Result<(), MachineError> {
        let what = format!("a shell of machine {}", self.spec.name);
        wait::until(&what, limit, || async {
            if !self.process.is_some_and(ProcessRecord::is_running) {
                let console = fs::read(self.console()).unwrap_or_default();
                let text = String::from_utf8_lossy(&console).into_owned();
                let lines: Vec<&str> = text.lines().collect();
                return Err(MachineError::Died {
                    machine: self.spec.name.clone(),
                    console: lines[lines.len().saturating_sub(12)..].join("\n"),
                });
            }
            Ok(self.script("true", CONNECT_LIMIT).await.ok().map(drop))
        })
        .await
    }

    /// Runs a script in the machine's shell, which must succeed, and returns what it printed on both
    /// its outputs.
    pub async fn script(&self, script: &str, limit: Duration) -> Result<String, MachineError> {
        let failed = |status: &str, output: &str| MachineError::Script {
            machine: self.spec.name.clone(),
            script: script.to_owned(),
            status: status.to_owned(),
            output: output.to_owned(),
        };
        let exchanged = tokio::time::timeout(limit, self.exchange(script)).await;
        let output = match exchanged {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(failed("the connection failed", &error.to_string())),
            Err(_elapsed) => return Err(failed(&format!("not over after {limit:?}"), "")),
        };
        match output.rsplit_once(STATUS_MARK) {
            Some((printed, status)) if status.trim() == "0" => Ok(printed.to_owned()),
            Some((printed, status)) => Err(failed(status.trim(), printed)),
            None => Err(failed("its shell ended", &output)),
        }
    }

    async fn exchange(&self, script: &str) -> io::Result<String> {
        let connecting = TcpStream::connect((self.spec.address, SHELL_PORT));
        let mut stream = tokio::time::timeout(CONNECT_LIMIT, connecting).await??;
        let text = format!(
            "exec 2>&1\n(\n{script}\n) </dev/null\nprintf '{}%s\\n' $?\nexit\n",
            STATUS_MARK.replace('\n', "\\n")
        );
        stream.write_all(text.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream
            .take(OUTPUT_BYTES_MAX)
            .read_to_end(&mut bytes)
            .await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(Signal::SIGKILL);
        }
        // The cable stays until its last user has gone; a `del` of our own does not wait for that.
        let mut remove = std::process::Command::new("ip");
        remove.args(["link", "del", &self.spec.cable]);
        let _already_gone = remove.output();
    }
}
