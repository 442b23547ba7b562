//! Tells the program what it was built from: the commit, the compiler, the target.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Packagers build from an archive, which has no history, and know the commit.
    println!("cargo::rerun-if-env-changed=FLOCKER_COMMIT");
    let commit = match env::var("FLOCKER_COMMIT") {
        Ok(commit) => commit,
        Err(_) => {
            rerun_at_commit(&root);
            said(
                Command::new("git")
                    .current_dir(&root)
                    .args(["rev-parse", "--short=12", "HEAD"]),
            )
        }
    };
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = said(Command::new(compiler).arg("--version"));
    println!("cargo::rustc-env=FLOCKER_COMMIT={commit}");
    println!("cargo::rustc-env=FLOCKER_COMPILER={compiler}");
    for (ours, cargos) in [("TARGET", "TARGET"), ("PROFILE", "PROFILE")] {
        let value = env::var(cargos).unwrap_or_else(|_| "unknown".to_owned());
        println!("cargo::rustc-env=FLOCKER_{ours}={value}");
    }
}

/// Has Cargo run this again when another commit is checked out; in a worktree, too.
fn rerun_at_commit(root: &Path) {
    for name in ["HEAD", "logs/HEAD"] {
        let path =
            said(
                Command::new("git")
                    .current_dir(root)
                    .args(["rev-parse", "--git-path", name]),
            );
        let path = root.join(path);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// What a command prints; `unknown` when it cannot be asked.
fn said(command: &mut Command) -> String {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
