//! Starts that were interrupted by the engine's death.
//!
//! An engine that is killed in the middle of a start comes back knowing a container that never ran,
//! while its containerd still has the rest of that start and refuses every other one, for ever. Such a
//! container is removed, to be made anew. Called when a start fails; never touches a container of which
//! a process runs.

use super::Docker;
use super::containers::Running;
use super::errors::failed;
use crate::runtime_trait::{RuntimeError, RuntimeErrorKind};
use std::fs;

/// Whether the engine refuses a start because of what is left of another one.
pub(super) fn is_interrupted(error: &RuntimeError, id: &str) -> bool {
    match &error.kind {
        RuntimeErrorKind::Other(reason) | RuntimeErrorKind::Refused(reason) => {
            reason.contains(&format!("task {id}")) && reason.contains("already exists")
        }
        _ => false,
    }
}

impl Docker {
    /// Removes the container of an interrupted start, and returns the error that says so.
    pub(super) async fn give_up_interrupted(
        &self,
        action: &str,
        id: &str,
    ) -> Result<(), RuntimeError> {
        let running = id.to_owned();
        let running = tokio::task::spawn_blocking(move || process_of(&running)).await;
        if let Ok(Some(pid)) = running {
            let reason = format!(
                "the engine says that it does not run, but its process {pid} does; end that process"
            );
            return Err(failed(action, RuntimeErrorKind::Refused(reason)));
        }
        self.remove_by_id(action, id, Running::Refuse).await?;
        let reason =
            "the engine was interrupted in the middle of a start; the container is made anew";
        Err(failed(action, RuntimeErrorKind::Other(reason.to_owned())))
    }
}

/// A process of the container: one whose control group bears the container's id.
fn process_of(id: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").ok()?;
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.contains(id)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_of_a_start_of_the_same_container_counts() {
        let error = |reason: &str| failed("start", RuntimeErrorKind::Other(reason.to_owned()));
        assert!(is_interrupted(&error("task 10f8: already exists"), "10f8"));
        assert!(!is_interrupted(&error("task 20f8: already exists"), "10f8"));
        assert!(!is_interrupted(&error("task 10f8: not found"), "10f8"));
    }

    #[test]
    fn a_process_is_found_by_its_control_group() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = own.lines().next().and_then(|line| line.rsplit(':').next());
        assert!(process_of(group.unwrap()).is_some());
        assert_eq!(process_of("no-control-group-is-called-so"), None);
    }
}
