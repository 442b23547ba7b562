//! Runs the system's own commands (`ip`, `nft`, `apt-get` ...), each with a limit.
//!
//! Called by every part of this crate that changes the machine. Never runs a shell, and never runs
//! anything that has to outlive the call; that is [`crate::process`].

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Limit of a command whose caller names no other.
const LIMIT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest piece of a command's error output that goes into an error.
const STDERR_BYTES_MAX: usize = 4096;

/// A command that did not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot run `{program}`; is it installed?")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said, shortened.
        stderr: String,
    },
    /// It took too long and was killed.
    #[error("`{command}` did not end within {} s", limit.as_secs())]
    Limit {
        /// The whole command line.
        command: String,
        /// How long it had.
        limit: Duration,
    },
}

impl ToolError {
    /// Whether the same call may succeed later.
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::Limit { .. })
    }
}

/// A command line being put together.
#[derive(Debug, Clone)]
pub struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Tool {
    /// A command without arguments.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            input: None,
            limit: LIMIT_DEFAULT,
        }
    }

    /// A command from words that hold no spaces: `Tool::words("ip link del x")`.
    pub fn words(line: &str) -> Self {
        let mut words = line.split_whitespace();
        Self::new(words.next().unwrap_or_default()).args(words)
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable in the command's environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it in this directory.
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Gives it this on standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Kills it after this long.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command line, for messages.
    pub fn line(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.arguments)
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end and returns what it printed.
    pub async fn run(self) -> Result<String, ToolError> {
        let bytes = self.run_bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same for a command that prints something other than text.
    pub async fn run_bytes(self) -> Result<Vec<u8>, ToolError> {
        let output = self.output().await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(ToolError::Failed {
            command: self.line(),
            status: output.status,
            stderr: shorten(&output.stderr),
        })
    }

    /// Runs it to its end, however it ends.
    pub async fn output(&self) -> Result<std::process::Output, ToolError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(match self.input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let start_error = |source| ToolError::Start {
            program: self.program.to_string_lossy().into_owned(),
            source,
        };
        let mut child = command.spawn().map_err(start_error)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, &self.input) {
                // A command that ends before it has read everything is judged by its status.
                let _early_end = stdin.write_all(input).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        match tokio::time::timeout(self.limit, both).await {
            Ok(output) => output.map_err(start_error),
            Err(_elapsed) => Err(ToolError::Limit {
                command: self.line(),
                limit: self.limit,
            }),
        }
    }
}

fn shorten(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(STDERR_BYTES_MAX);
    String::from_utf8_lossy(&bytes[start..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_input_and_failure_are_seen() {
        let printed = Tool::new("cat").input("through").run().await.unwrap();
        assert_eq!(printed, "through");
        let error = Tool::words("ls /does-not-exist").run().await.unwrap_err();
        assert!(error.to_string().contains("does-not-exist"), "{error}");
        assert!(!error.can_retry());
        let error = Tool::new("no-such-program-here").run().await.unwrap_err();
        assert!(error.to_string().contains("is it installed"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed() {
        let started = tokio::time::Instant::now();
        let error = Tool::words("sleep 60")
            .limit(Duration::from_millis(50))
            .run()
            .await
            .unwrap_err();
        assert!(matches!(error, ToolError::Limit { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
