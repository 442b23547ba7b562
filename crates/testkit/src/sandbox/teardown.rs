//! Taking a sandbox, or one node, down: everything of it is found by the names in its record.
//!
//! Called by `down`, by a failed `up` and by `power_off`; may be repeated, and may run after a crash
//! at any point of `up` or of itself. Never touches a process outside the sandbox's namespaces and
//! control groups, nor a device or directory that is not its own.

use super::SandboxError;
use super::groups;
use super::lock;
use super::network;
use super::record::{BASE, NodePlace, SandboxName, SandboxRecord, directory_of};
use crate::process::{ProcessRecord, Stat, all_pids};
use crate::tool::Tool;
use crate::wait::{self, WaitError};
use flocker_types::volume::StorageKind;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KILL_LIMIT: Duration = Duration::from_secs(20);
const REMOVE_LIMIT: Duration = Duration::from_secs(20);

/// Removes everything that the sandbox made.
pub(super) async fn remove(name: &SandboxName) -> Result<(), SandboxError> {
    let directory = directory_of(name);
    if let Some(record) = SandboxRecord::load(name)? {
        for node in record.all_nodes() {
            if record.storage == StorageKind::Zfs && Path::new("/dev/zfs").exists() {
                let line = format!("zpool destroy -f {}", node.zfs_pool());
                let _absent_after_a_crash = Tool::words(&line).output().await?;
            }
            end_node(&node).await?;
            network::remove_namespace(&node).await?;
        }
        forget_context(&record).await?;
        network::remove_bridge(&record).await?;
        detach_loop_devices(&directory).await?;
        for node in record.all_nodes() {
            remove_tree(&node.directory).await?;
        }
    }
    // The record goes last: until then, the next `down` can begin again.
    remove_tree(&directory).await?;
    let _lock = lock::take().await?;
    let machine = network::machine()?;
    let others = SandboxRecord::load_all()?;
    if others.iter().all(|other| other.machine != machine) {
        network::restore_forwarding(machine)?;
    }
    // Fails while there is another sandbox in it.
    let _not_empty = fs::remove_dir(BASE);
    Ok(())
}

/// Takes the cluster out of the command line's list. There is nothing to forget when `up` did not
/// get that far; and the program may be gone by now, which is no reason to leave the rest.
async fn forget_context(record: &SandboxRecord) -> Result<(), SandboxError> {
    let Some(flocker) = record.flocker.as_ref().filter(|flocker| flocker.exists()) else {
        return Ok(());
    };
    let forget = Tool::new(flocker).args(["context", "rm", &record.context()]);
    let _not_known = forget.output().await?;
    Ok(())
}

/// Kills everything that runs on a node, containers included, as a power cut would.
pub(super) async fn end_node(node: &NodePlace) -> Result<(), SandboxError> {
    let what = format!("the processes of node {} to end", node.name);
    wait::until::<_, WaitError, _, _>(&what, KILL_LIMIT, || {
        let running = processes_of(node);
        for process in &running {
            process.signal(Signal::SIGKILL);
        }
        async move { Ok(running.is_empty().then_some(())) }
    })
    .await?;
    remove_control_groups(node).await
}

/// Everything that runs on a node: what we recorded, what is in its network namespace with its
/// descendants, and what is in its containers.
pub(super) fn processes_of(node: &NodePlace) -> Vec<ProcessRecord> {
    let own = ancestors_of(std::process::id());
    let mut found: BTreeSet<i32> = BTreeSet::new();
    if let Ok(entries) = fs::read_dir(node.directory.join("run")) {
        for entry in entries.flatten() {
            if let Ok(Some(process)) = ProcessRecord::load(&entry.path())
                && process.is_running()
            {
                found.insert(process.pid);
            }
        }
    }
    let all: Vec<(i32, i32)> = all_pids()
        .into_iter()
        .filter_map(|pid| {
            Some((
                pid,
                Stat::read(pid).filter(|stat| !stat.has_ended())?.parent,
            ))
        })
        .collect();
    if let Ok(namespace) = fs::metadata(node.namespace_file()) {
        let inside = |pid: i32| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|of| (of.dev(), of.ino()) == (namespace.dev(), namespace.ino()))
        };
        found.extend(all.iter().map(|(pid, _)| *pid).filter(|pid| inside(*pid)));
    }
    for group in control_groups(node) {
        visit_groups(&group, &mut |directory| {
            let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(pids.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        });
    }
    loop {
        let children: Vec<i32> = all
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    found
        .into_iter()
        .filter(|pid| !own.contains(pid))
        .filter_map(ProcessRecord::of)
        .filter(|process| process.is_running())
        .collect()
}

/// A process and those that started it: never to be killed by itself.
fn ancestors_of(pid: u32) -> BTreeSet<i32> {
    let mut line = BTreeSet::new();
    let mut next = i32::try_from(pid).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && line.insert(*pid)) {
        next = Stat::read(pid).map(|stat| stat.parent);
    }
    line.insert(1);
    line
}

/// The node's control group in every hierarchy that there is.
fn control_groups(node: &NodePlace) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut groups = vec![root.join(&node.control_group)];
    groups.extend(groups::all_of(node));
    if let Ok(entries) = fs::read_dir(root) {
        let hierarchies = entries.flatten().map(|entry| entry.path());
        groups.extend(hierarchies.map(|hierarchy| hierarchy.join(&node.control_group)));
    }
    groups.retain(|group| group.is_dir());
    groups
}

/// Calls `visit` for the group and those in it, innermost first.
fn visit_groups(group: &Path, visit: &mut impl FnMut(&Path)) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                visit_groups(&entry.path(), visit);
            }
        }
    }
    visit(group);
}

async fn remove_control_groups(node: &NodePlace) -> Result<(), SandboxError> {
    let what = format!("the control groups of node {} to be empty", node.name);
    wait::until(&what, REMOVE_LIMIT, || async {
        let groups = control_groups(node);
        for group in &groups {
            visit_groups(group, &mut |directory| {
                // Busy for a moment after its last process; the next look tries again.
                let _busy = fs::remove_dir(directory);
            });
        }
        Ok(groups.iter().all(|group| !group.exists()).then_some(()))
    })
    .await
}

/// Detaches the loop devices whose files are in the directory.
async fn detach_loop_devices(directory: &Path) -> Result<(), SandboxError> {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return Ok(());
    };
    for device in devices.flatten() {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(file.trim()).starts_with(directory) {
            let name = device.file_name().to_string_lossy().into_owned();
            let detached = Tool::words(&format!("losetup -d /dev/{name}")).run().await;
            // It may have let go by itself in between.
            if let (Err(error), true) = (detached, device.path().join("loop/backing_file").exists())
            {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it. Mounts of a namespace that has just ended may keep
/// parts of it busy for a moment.
async fn remove_tree(directory: &Path) -> Result<(), SandboxError> {
    let what = format!("{} to be removable", directory.display());
    wait::until(&what, REMOVE_LIMIT, || async {
        let path = directory.to_owned();
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(path)).await;
        match removed.map_err(io::Error::other).and_then(|result| result) {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(())),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(None),
            Err(error) => Err(SandboxError::file("remove", directory)(error)),
        }
    })
    .await
}
