//! What runs in a container that has a gate, as the kernel tells it: the gate, or the container's own
//! command already.

use super::PROGRAM_TARGET;
use flocker_gate::table::{Place, place};
use std::fs;

/// The gate's process stands in the container, as its first process or, below an init, as that
/// one's child.
pub(super) fn is_at_gate(pid: u32) -> bool {
    is_gate(pid) || children(pid).into_iter().any(is_gate)
}

/// The container's process is certainly something other than the gate. While the engine still sets a
/// container up, and where the process cannot be looked at, that is not certain.
pub(super) fn runs_command(pid: u32, container_id: &str) -> bool {
    let Some(program) = first_argument(pid) else {
        return false;
    };
    // The engine's low-level runtime, which the gate's process begins as.
    let set_up = program.ends_with("runc") || program.ends_with("exe");
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let ours = !container_id.is_empty() && cgroups.contains(container_id);
    ours && !set_up && !is_at_gate(pid)
}

/// Whether the container sees a mount whose name ends so.
pub(super) fn sees_mount(pid: u32, suffix: &str) -> bool {
    let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    place(&table, suffix.as_bytes()) != Place::Missing
}

/// Whether each place is there in the container, and is covered.
pub(super) fn sees_covered<'a>(pid: u32, mut suffixes: impl Iterator<Item = &'a str>) -> bool {
    let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    suffixes.all(|suffix| matches!(place(&table, suffix.as_bytes()), Place::Covered { .. }))
}

fn is_gate(pid: u32) -> bool {
    first_argument(pid).is_some_and(|program| program == PROGRAM_TARGET)
}

fn first_argument(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = line.split(|byte| *byte == 0).next()?;
    (!first.is_empty()).then(|| String::from_utf8_lossy(first).into_owned())
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_no_gate() {
        let own = std::process::id();
        assert!(!is_at_gate(own));
        assert!(!is_at_gate(u32::MAX));
        // Not certain: it belongs to no container.
        assert!(!runs_command(own, "0123456789abcdef0123"));
        assert!(!runs_command(own, ""));
        let own_group = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = own_group
            .lines()
            .next()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap();
        assert!(runs_command(own, group));
        assert!(sees_mount(own, "/"));
        assert!(!sees_mount(own, "/places/no-such/0"));
    }
}
