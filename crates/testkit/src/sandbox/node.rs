//! One node: its mount namespace, its Docker engine, its pool's foundation.
//!
//! Called by `up`, `start` and `power_on`. A node is to its processes what a server is: a network
//! and a mount namespace of its own, shared by the agent and the engine, so that a pool that the
//! agent mounts is there for the engine as well. The mount namespace lives as long as a process in
//! it; an anchor process, which does nothing, is the first.

use super::SandboxError;
use super::record::{NodePlace, SandboxRecord};
use crate::process::{ProcessRecord, start_detached};
use crate::tool::Tool;
use crate::wait::{self, WaitError};
use flocker_types::volume::StorageKind;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Name of the anchor's process record.
pub(super) const ANCHOR: &str = "anchor";
/// Name of the engine's process record.
pub(super) const DOCKER: &str = "docker";
/// Name of the record of the node's own ZFS daemon.
const ZFS_DAEMON: &str = "zfs-fuse";

const ANCHOR_LIMIT: Duration = Duration::from_secs(10);
const CONTAINERD_LIMIT: Duration = Duration::from_secs(10);
const ENGINE_LIMIT: Duration = Duration::from_secs(60);
const ZFS_LIMIT: Duration = Duration::from_secs(20);
const PING_LIMIT: Duration = Duration::from_secs(2);
/// Memory for the cache of each node's ZFS daemon.
const ZFS_CACHE_MIB: &str = "128";

/// What the anchor does before it sleeps. Mounts are shared within the node only, as they are on a
/// real server; directories at fixed places, which two engines or ZFS daemons would share, become
/// the node's own. A resolver that only listens on the machine's loopback is of no use in here. A node
/// that is powered on has booted: it has a boot id of its own.
const ANCHOR_SCRIPT: &str = "set -e
mount --make-rshared /
for d in /run/docker /run/containerd /run/zfs /run/lock/zfs /var/lib/zfs; do
  mkdir -p $d
  mount -t tmpfs -o mode=700 flocker-sandbox $d
done
if grep -q '^nameserver 127\\.0\\.0\\.53' /etc/resolv.conf && [ -e /run/systemd/resolve/resolv.conf ]
then mount --bind /run/systemd/resolve/resolv.conf /etc/resolv.conf
fi
id=$(mktemp)
cat /proc/sys/kernel/random/uuid > $id
mount --bind $id /proc/sys/kernel/random/boot_id
rm $id
exec sleep infinity";

/// Makes the node's directories and its mount namespace.
pub(super) async fn start_anchor(node: &NodePlace) -> Result<(), SandboxError> {
    for part in ["docker", "state", "log", "run"] {
        let path = node.directory.join(part);
        fs::create_dir_all(&path).map_err(SandboxError::file("make", &path))?;
    }
    let network = format!("--net={}", node.namespace_file().display());
    let words = [
        &network,
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--",
    ];
    let script = ["sh", "-c", ANCHOR_SCRIPT];
    let anchor = start_recorded(node, ANCHOR, words.iter().chain(&script), &[])?;
    wait::until("the node's mount namespace", ANCHOR_LIMIT, || async move {
        if !anchor.is_running() {
            return Err(SandboxError::Died {
                node: node.name.clone(),
                role: ANCHOR.to_owned(),
                log: log_tail(&node.log(ANCHOR)),
            });
        }
        let line = fs::read(format!("/proc/{}/cmdline", anchor.pid)).unwrap_or_default();
        Ok(line.starts_with(b"sleep").then_some(()))
    })
    .await
}

/// Starts a program by `nsenter` with these words and remembers it under the role's name.
fn start_recorded<'a>(
    node: &NodePlace,
    role: &str,
    words: impl Iterator<Item = &'a &'a str>,
    environment: &[(String, String)],
) -> Result<ProcessRecord, SandboxError> {
    let words: Vec<String> = words.map(|word| (*word).to_owned()).collect();
    let record = start_detached("nsenter", &words, environment, &node.log(role))?;
    record.save(&node.process_file(role))?;
    Ok(record)
}

/// The words that take a command into the node's namespaces: `nsenter` and its options.
pub(super) fn enter_words(node: &NodePlace) -> Result<Vec<String>, SandboxError> {
    let anchor = ProcessRecord::load(&node.process_file(ANCHOR))?
        .filter(|anchor| anchor.is_running())
        .ok_or_else(|| SandboxError::Invalid {
            what: format!("node {} is not powered on", node.name),
            hint: "power it on, or take the sandbox down and up again".to_owned(),
        })?;
    Ok(vec![
        format!("--net={}", node.namespace_file().display()),
        format!("--mount=/proc/{}/ns/mnt", anchor.pid),
        "--".to_owned(),
    ])
}

/// Starts a program on the node that goes on after us.
pub(super) fn start_on(
    node: &NodePlace,
    role: &str,
    words: &[&str],
    environment: &[(String, String)],
) -> Result<ProcessRecord, SandboxError> {
    let enter = enter_words(node)?;
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    start_recorded(node, role, enter.iter().chain(words), environment)
}

/// A command that runs on the node, with the node's engine as its Docker.
pub(super) fn tool_on(node: &NodePlace, program: &str) -> Result<Tool, SandboxError> {
    Ok(Tool::new("nsenter")
        .args(enter_words(node)?)
        .arg(program)
        .env("DOCKER_HOST", docker_url(node)))
}

/// The engine's address as the `docker` command and Flocker take it.
pub(super) fn docker_url(node: &NodePlace) -> String {
    format!("unix://{}", node.docker_socket().display())
}

/// Starts the node's engine and waits until it answers.
pub(super) async fn start_engine(node: &NodePlace) -> Result<(), SandboxError> {
    let home = node.directory.join("docker");
    let at = |name: &str| home.join(name).display().to_string();
    // An empty configuration of its own: the machine's may contradict the options below.
    let configuration = home.join("daemon.json");
    fs::write(&configuration, "{}").map_err(SandboxError::file("write", &configuration))?;
    // After a crash or a power cut the pids in here may be somebody else's by now.
    remove_if_there(&home.join("docker.pid"))?;
    forget_containerd(node).await?;
    let driver = storage_driver(node).await?;
    let words = [
        "dockerd",
        "--config-file",
        &at("daemon.json"),
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
        "--pidfile",
        &at("docker.pid"),
        "--host",
        &docker_url(node),
        "--storage-driver",
        driver,
        "--exec-opt",
        "native.cgroupdriver=cgroupfs",
        "--cgroup-parent",
        &format!("/{}", node.control_group),
        "--log-level",
        "warn",
    ];
    let engine = start_on(node, DOCKER, &words, &[])?;
    let what = format!("the Docker engine of node {}", node.name);
    wait::until(&what, ENGINE_LIMIT, || async {
        if !engine.is_running() {
            return Err(SandboxError::Died {
                node: node.name.clone(),
                role: DOCKER.to_owned(),
                log: log_tail(&node.log(DOCKER)),
            });
        }
        let socket = node.docker_socket();
        let answer = tokio::time::timeout(PING_LIMIT, ping(&socket)).await;
        Ok(matches!(answer, Ok(Ok(true))).then_some(()))
    })
    .await
}

/// An engine that was killed takes its containerd with it, a moment later. An engine that starts in
/// that moment, or finds the pid of one that nobody has waited for yet, would wait for it in vain.
async fn forget_containerd(node: &NodePlace) -> Result<(), SandboxError> {
    let path = node.directory.join("docker/exec/containerd/containerd.pid");
    let pid = fs::read_to_string(&path).unwrap_or_default().trim().parse();
    let is_ours = |old: &ProcessRecord| {
        let line = fs::read(format!("/proc/{}/cmdline", old.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&node.directory.display().to_string())
    };
    if let Some(old) = pid.ok().and_then(ProcessRecord::of).filter(is_ours) {
        let what = format!("the old containerd of node {} to end", node.name);
        let look = || async move { Ok((!old.is_running()).then_some(())) };
        wait::until::<_, WaitError, _, _>(&what, CONTAINERD_LIMIT, look).await?;
    }
    remove_if_there(&path)
}

async fn ping(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"HTTP/1.1 200 OK")
}

/// The engine's best storage driver that works where the sandbox is: an overlay cannot lie on
/// another one, which is what the sandbox's directory is on when we run in a container ourselves.
async fn storage_driver(node: &NodePlace) -> Result<&'static str, SandboxError> {
    let probe = node.directory.join("docker/probe");
    let at = |name: &str| probe.join(name).display().to_string();
    for name in ["lower", "upper", "work", "merged"] {
        let path = probe.join(name);
        fs::create_dir_all(&path).map_err(SandboxError::file("make", &path))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower"),
        at("upper"),
        at("work")
    );
    let mount =
        tool_on(node, "mount")?.args(["-t", "overlay", "overlay", "-o", &options, &at("merged")]);
    let works = mount.run().await.is_ok();
    if works {
        tool_on(node, "umount")?.arg(at("merged")).run().await?;
    }
    fs::remove_dir_all(&probe).map_err(SandboxError::file("remove", &probe))?;
    Ok(if works { "overlay2" } else { "vfs" })
}

/// How the agent is told about the node's pool.
pub(super) fn pool_spec(record: &SandboxRecord, node: &NodePlace) -> String {
    match record.storage {
        StorageKind::Btrfs => format!(
            "btrfs-image:{},size={}",
            node.pool_file().display(),
            record.pool_bytes
        ),
        StorageKind::Zfs => format!("zfs:{}", node.zfs_pool()),
    }
}

/// Makes what the node's pool stands on, where that is not the agent's own job.
pub(super) async fn make_pool(
    record: &SandboxRecord,
    node: &NodePlace,
) -> Result<(), SandboxError> {
    if record.storage != StorageKind::Zfs {
        return Ok(());
    }
    start_zfs(node).await?;
    let file = node.pool_file();
    let made = fs::File::create(&file).and_then(|image| image.set_len(record.pool_bytes));
    made.map_err(SandboxError::file("make", &file))?;
    tool_on(node, "zpool")?
        .args(["create", "-m"])
        .arg(node.directory.join("pool"))
        .args([&node.zfs_pool(), &file.display().to_string()])
        .run()
        .await?;
    Ok(())
}

/// After a power cut: starts ZFS again and imports the pool, as a server does when it boots.
pub(super) async fn import_pool(
    record: &SandboxRecord,
    node: &NodePlace,
) -> Result<(), SandboxError> {
    if record.storage == StorageKind::Zfs {
        start_zfs(node).await?;
        tool_on(node, "zpool")?
            .args(["import", "-f", "-d"])
            .arg(&node.directory)
            .arg(node.zfs_pool())
            .run()
            .await?;
    }
    Ok(())
}

/// Starts ZFS in user space where the kernel has none. Each node has a daemon of its own, because
/// the daemon mounts datasets in its own mount namespace.
async fn start_zfs(node: &NodePlace) -> Result<(), SandboxError> {
    if Path::new("/dev/zfs").exists() {
        return Ok(());
    }
    let words = [
        "zfs-fuse",
        "--no-daemon",
        "--no-kstat-mount",
        "--max-arc-size",
        ZFS_CACHE_MIB,
    ];
    let daemon = start_on(node, ZFS_DAEMON, &words, &[])?;
    let what = format!("the ZFS daemon of node {}", node.name);
    wait::until(&what, ZFS_LIMIT, || async move {
        if !daemon.is_running() {
            return Err(SandboxError::Died {
                node: node.name.clone(),
                role: ZFS_DAEMON.to_owned(),
                log: log_tail(&node.log(ZFS_DAEMON)),
            });
        }
        let answers = tool_on(node, "zpool")?.arg("list").output().await?;
        Ok(answers.status.success().then_some(()))
    })
    .await
}

fn remove_if_there(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SandboxError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The last lines of a log, for an error.
pub(super) fn log_tail(path: &Path) -> String {
    const LINES_MAX: usize = 8;
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}
