//! The files of the repository as the rules see them. Every rule's test calls it; it only reads.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One file that git knows, or would take.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the repository's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// Every text file that is in git, or new and not ignored.
pub(crate) fn files() -> Vec<SourceFile> {
    let root = root();
    let output = Command::new("git")
        // The checkout may belong to somebody else when root runs the tests.
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached"])
        .args(["--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files: {output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    let files: Vec<SourceFile> = names
        .split_terminator('\0')
        .filter_map(|path| {
            // One that is deleted but still in the index, or is not text, is of no interest.
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            Some(SourceFile::new(path, &text))
        })
        .collect();
    let known = |path: &str| files.iter().any(|file| file.path == path);
    assert!(known("Cargo.toml") && known("crates/tidy/src/lib.rs"));
    files
}

/// Fails with every violation of a rule.
#[track_caller]
pub(crate) fn assert_none(violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations.join("\n")
    );
}
