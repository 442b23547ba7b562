//! A container's first process, held by a file descriptor: signalling it and seeing it end without
//! the engine's detour. Used by stop, where every millisecond is part of a service's pause.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The first process of a container. While this value lives it cannot come to mean another one.
#[derive(Debug)]
pub(super) struct ContainerProcess {
    pidfd: AsyncFd<OwnedFd>,
}

impl ContainerProcess {
    /// Holds the process, when it is a process of that container in this process-id namespace.
    /// None otherwise: it has ended, or the engine counts processes in another namespace.
    pub(super) fn open(pid: u32, container_id: &str) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        if container_id.is_empty() || !cgroups.contains(container_id) {
            return None;
        }
        // Not ended now either, so the file that was read belonged to the process that is held.
        let fdinfo = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let held = std::fs::read_to_string(fdinfo).ok()?;
        if !held.lines().any(|line| held_pid(line) == Some(pid)) {
            return None;
        }
        let pidfd = watched(pidfd)?;
        Some(Self { pidfd })
    }

    /// Sends a signal. `Ok` when it has ended already.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when it has ended. It is the first of its process-id namespace, so the kernel has
    /// ended every other process of the container by then.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(|_| ())
    }
}

#[expect(
    unsafe_code,
    reason = "tokio wants the owner's word that the descriptor stays open"
)]
fn watched(pidfd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is an open pidfd, owned by the `AsyncFd` and never replaced in it.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.ok()
}

/// The process of a line `Pid:` of a descriptor's information; none when it has ended (`-1`).
fn held_pid(line: &str) -> Option<Pid> {
    let number = line.strip_prefix("Pid:")?.trim().parse().ok()?;
    (number > 0).then(|| Pid::from_raw(number)).flatten()
}

/// The signal of a name as Docker takes it (`SIGTERM`, `TERM`, `15`); none for those that only the
/// engine can translate.
pub(super) fn signal_of(name: &str) -> Option<Signal> {
    if let Ok(number) = name.parse::<i32>() {
        return Signal::from_named_raw(number);
    }
    let upper = name.to_ascii_uppercase();
    match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "HUP" => Some(Signal::HUP),
        "INT" => Some(Signal::INT),
        "QUIT" => Some(Signal::QUIT),
        "KILL" => Some(Signal::KILL),
        "USR1" => Some(Signal::USR1),
        "USR2" => Some(Signal::USR2),
        "TERM" => Some(Signal::TERM),
        "WINCH" => Some(Signal::WINCH),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_names_are_read_as_docker_reads_them() {
        assert_eq!(signal_of("SIGTERM"), Some(Signal::TERM));
        assert_eq!(signal_of("term"), Some(Signal::TERM));
        assert_eq!(signal_of("15"), Some(Signal::TERM));
        assert_eq!(signal_of("SIGRTMIN+3"), None);
        assert_eq!(signal_of("-1"), None);
    }

    #[tokio::test]
    async fn a_process_outside_the_container_is_never_held() {
        let own = std::process::id();
        assert!(ContainerProcess::open(own, "0123456789abcdef0123").is_none());
        assert!(ContainerProcess::open(own, "").is_none());
        assert!(ContainerProcess::open(0, "x").is_none());
    }
}
