//! Runs the program as a person or a script would: in an environment of its own, nothing inherited.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// All of it as text, for snapshots.
    pub(crate) fn text(&self) -> String {
        format!(
            "exit code {}\n--- stdout\n{}--- stderr\n{}",
            self.code.map_or("none".to_owned(), |code| code.to_string()),
            self.stdout,
            self.stderr
        )
    }

    /// The standard output of a command that must have worked.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.text());
        self.stdout
    }
}

/// A user with an empty home.
pub(crate) struct User {
    pub(crate) home: tempfile::TempDir,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "ann")
            .stdin(Stdio::null())
            .current_dir(manifests());
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run_as(&self, program: &Path, words: &[&str]) -> Ran {
        let output = self
            .command(program, words)
            .output()
            .expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs `flocker`.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.run_as(Path::new(env!("CARGO_BIN_EXE_flocker")), words)
    }

    /// Starts `flocker` with its log in a file, until the guard is dropped.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        let log = std::fs::File::create(self.path("log")).expect("a log");
        let program = Path::new(env!("CARGO_BIN_EXE_flocker"));
        let mut command = self.command(program, words);
        Running(
            command
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("the program runs"),
        )
    }
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real manifests among the tests of `flocker-manifest`.
pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/manifests")
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within 30 s");
        // Each question is a process that is started and ended: no busy loop.
        std::thread::yield_now();
    }
}
