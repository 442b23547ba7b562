//! Processes that outlive who started them: started detached, remembered by pid and start time,
//! found again and signalled later, perhaps by another program.
//!
//! Called by the sandbox. Never signals a process whose start time is not the recorded one, so a
//! reused pid is safe.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Starting, remembering or signalling a process did not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct ProcessError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ProcessError {
    fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            doing,
            path,
            source,
        }
    }
}

/// A process, told apart from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRecord {
    /// Its pid.
    pub pid: i32,
    /// When it was started, in the kernel's clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessRecord {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        Some(Self {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// Whether it still runs. A process that has ended and was not waited for does not.
    pub fn is_running(self) -> bool {
        Stat::read(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.has_ended())
    }

    /// Whether it stands still, by SIGSTOP.
    pub fn is_stopped(self) -> bool {
        Stat::read(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.state == 'T')
    }

    /// Sends it a signal; `false` when it no longer runs.
    pub fn signal(self, signal: Signal) -> bool {
        self.is_running() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Writes the record to a file.
    pub fn save(self, path: &Path) -> Result<(), ProcessError> {
        let text = format!("{} {}\n", self.pid, self.start_ticks);
        fs::write(path, text).map_err(ProcessError::at("record a process in", path))
    }

    /// Reads a record; none when there is no file, or one that a crash left half-written.
    pub fn load(path: &Path) -> Result<Option<Self>, ProcessError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ProcessError::at("read the process record", path)(error)),
        };
        let mut numbers = text.split_whitespace();
        Ok(match (numbers.next(), numbers.next()) {
            (Some(pid), Some(ticks)) => pid
                .parse()
                .ok()
                .zip(ticks.parse().ok())
                .map(|(pid, start_ticks)| Self { pid, start_ticks }),
            _ => None,
        })
    }
}

/// What `/proc/PID/stat` says that matters here.
#[derive(Debug)]
pub(crate) struct Stat {
    pub(crate) parent: i32,
    state: char,
    start_ticks: u64,
}

impl Stat {
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold anything.
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Every pid there is now.
pub(crate) fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Starts a program that goes on after us, in a session of its own, its output appended to `log`.
pub fn start_detached(
    program: &str,
    arguments: &[String],
    environment: &[(String, String)],
    log: &Path,
) -> Result<ProcessRecord, ProcessError> {
    let open = |path: &Path| -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(path)
    };
    let output = open(log).map_err(ProcessError::at("open the log", log))?;
    let errors = output
        .try_clone()
        .map_err(ProcessError::at("open the log", log))?;
    // `setsid` becomes the program without a fork of its own, so the pid stays.
    let child = Command::new("setsid")
        .arg(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(ProcessError::at("start", Path::new(program)))?;
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    ProcessRecord::of(pid).ok_or_else(|| {
        ProcessError::at("find again", Path::new(program))(io::ErrorKind::NotFound.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_one_process_only() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let record = start_detached("sleep", &["60".to_owned()], &[], &log).unwrap();
        let file = directory.path().join("pid");
        record.save(&file).unwrap();
        assert_eq!(ProcessRecord::load(&file).unwrap(), Some(record));
        assert!(record.is_running());
        let later = ProcessRecord {
            start_ticks: record.start_ticks + 1,
            ..record
        };
        assert!(!later.is_running());
        assert!(!later.signal(Signal::SIGKILL));
        assert!(record.signal(Signal::SIGKILL));
        let pid = Pid::from_raw(record.pid);
        nix::sys::wait::waitpid(pid, None).unwrap();
        assert!(!record.is_running());
    }

    #[test]
    fn a_half_written_record_is_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        fs::write(&file, "12").unwrap();
        assert_eq!(ProcessRecord::load(&file).unwrap(), None);
        assert_eq!(
            ProcessRecord::load(&directory.path().join("none")).unwrap(),
            None
        );
    }
}
