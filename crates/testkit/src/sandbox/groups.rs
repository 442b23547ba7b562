//! A control group for each of Flocker's processes on a node, by which the kernel tells whose packets
//! are whose: that is how one process is cut off alone.
//!
//! Used where processes are started, cut off and removed. Where the kernel has no hierarchy of version
//! two, there are no groups, and cutting a process off is an error.

use super::SandboxError;
use super::faults::Role;
use super::record::NodePlace;
use crate::process::ProcessRecord;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the hierarchy of version two is mounted, alone or beside those of version one.
fn root() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let found = places
        .into_iter()
        .find(|place| Path::new(place).join("cgroup.controllers").exists());
    found.map(PathBuf::from)
}

fn name(node: &NodePlace, role: Role) -> String {
    format!("{}.{}", node.control_group, role.name())
}

/// Puts a process into its group. Its sockets are in it from then on.
pub(super) fn put(node: &NodePlace, role: Role, process: ProcessRecord) {
    let Some(group) = root().map(|root| root.join(name(node, role))) else {
        return;
    };
    let put = fs::create_dir_all(&group)
        .and_then(|()| fs::write(group.join("cgroup.procs"), process.pid.to_string()));
    if let Err(error) = put {
        tracing::warn!(%error, group = %group.display(), "this process cannot be cut off alone");
    }
}

/// The hierarchy's place, and the group of a process in it.
pub(super) fn of(node: &NodePlace, role: Role) -> Result<(PathBuf, String), SandboxError> {
    let group = name(node, role);
    match root() {
        Some(root) if root.join(&group).is_dir() => Ok((root, group)),
        _ => Err(SandboxError::Invalid {
            what: format!("{} of {} has no control group", role.name(), node.name),
            hint: "a process can be cut off alone where there are control groups of version two"
                .to_owned(),
        }),
    }
}

/// Every group that the node may have.
pub(super) fn all_of(node: &NodePlace) -> Vec<PathBuf> {
    let Some(root) = root() else {
        return Vec::new();
    };
    let groups = Role::FLOCKER.map(|role| root.join(name(node, role)));
    groups.into_iter().collect()
}
