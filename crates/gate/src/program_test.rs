//! Tests of the program without a container: what it becomes and how it fails. Where it waits, it needs
//! mounts, and so a container: the container runtime's tests have that.

use super::words::{CODE_GATE_FAILED, CODE_NOT_FOUND, CODE_NOT_RUNNABLE};
use super::{arguments, program};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Gate {
    directory: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let gate = Self { directory };
        let bytes = program().expect("this processor has a gate");
        gate.file("gate", bytes, 0o755);
        gate
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn run(&self, words: &[&str], path: &str) -> Output {
        Command::new(self.path("gate"))
            .args(words)
            .env_clear()
            .envs([("A", "1 2"), ("PATH", path), ("EMPTY", "")])
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, why: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(text(&output.stderr).contains(why), "{output:?}");
    assert!(text(&output.stderr).starts_with("flocker: "), "{output:?}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn it_is_small_static_and_for_this_machine() {
    let bytes = program().unwrap();
    assert!(bytes.len() < 64 * 1024, "{} bytes", bytes.len());
    assert_eq!(&bytes[..4], b"\x7fELF");
    let needs_a_loader = bytes.windows(7).any(|part| part == b"ld-linu");
    assert!(!needs_a_loader);
}

#[test]
fn arguments_and_environment_and_directory_arrive_unchanged() {
    let gate = Gate::new();
    let script = r#"echo "$0|$1|$2|$#|$A|${EMPTY-unset}|$(pwd)"; env | sort | tr '\n' ','"#;
    let output = gate.run(&["--", "sh", "-c", script, "x", "", "--"], "/usr/bin:/bin");
    let directory = gate.directory.path().display();
    let said = text(&output.stdout);
    assert!(
        said.starts_with(&format!("x||--|2|1 2||{directory}\n")),
        "{output:?}"
    );
    assert!(said.contains("A=1 2,EMPTY=,PATH=/usr/bin:/bin,"), "{said}");
    assert!(output.status.success());
}

#[test]
fn the_command_decides_the_exit_code() {
    let gate = Gate::new();
    let output = gate.run(&["--", "/bin/sh", "-c", "exit 42"], "");
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn the_command_is_found_as_the_engine_finds_it() {
    let gate = Gate::new();
    gate.file("one/tool", b"#!/bin/sh\necho one\n", 0o644);
    gate.file("two/tool", b"#!/bin/sh\necho two\n", 0o755);
    gate.file("here", b"#!/bin/sh\necho here\n", 0o755);
    std::fs::create_dir(gate.path("two/folder")).unwrap();
    let (one, two) = (gate.path("one"), gate.path("two"));
    let path = format!("{}:/no/such:{}", one.display(), two.display());
    // What may not be run is passed over.
    assert_eq!(text(&gate.run(&["--", "tool"], &path).stdout), "two\n");
    assert_eq!(text(&gate.run(&["--", "./here"], "").stdout), "here\n");
    assert_eq!(text(&gate.run(&["--", "here"], "/x::/y").stdout), "here\n");
    assert_fails(&gate.run(&["--", "here"], "/x"), CODE_NOT_FOUND, "here");
    let alone = gate.run(&["--", "tool"], &one.display().to_string());
    assert_fails(&alone, CODE_NOT_RUNNABLE, "permission denied");
    assert_fails(&gate.run(&["--", "./folder"], &path), CODE_NOT_FOUND, "");
    assert_fails(&gate.run(&["--", "/etc/passwd"], ""), CODE_NOT_RUNNABLE, "");
    assert_fails(&gate.run(&["--", ""], "/bin"), CODE_NOT_FOUND, "");
}

#[test]
fn what_is_no_program_is_not_run_by_a_shell() {
    let gate = Gate::new();
    gate.file("two/text", b"echo never\n", 0o755);
    let path = gate.path("two").display().to_string();
    assert_fails(&gate.run(&["--", "text"], &path), CODE_NOT_RUNNABLE, "");
}

#[test]
fn it_fails_rather_than_run_without_a_volume() {
    let gate = Gate::new();
    let run = |words: &[&str]| gate.run(words, "/bin:/usr/bin");
    let missing = run(&["/places/flocker--no--such/0", "--", "echo", "never"]);
    assert_fails(&missing, CODE_GATE_FAILED, "not mounted");
    assert_fails(&run(&["--"]), CODE_GATE_FAILED, "no command");
    assert_fails(&run(&["echo", "never"]), CODE_GATE_FAILED, "command");
    assert_fails(&run(&[]), CODE_GATE_FAILED, "command");
}

#[test]
fn arguments_are_the_places_and_then_the_command() {
    let places = ["/p/0", "/p/1"].map(str::to_owned);
    let command = ["sh", "--"].map(str::to_owned);
    assert_eq!(
        arguments(&places, &command),
        ["/p/0", "/p/1", "--", "sh", "--"]
    );
    assert!(Path::new(&arguments(&places, &command)[0]).is_absolute());
}
