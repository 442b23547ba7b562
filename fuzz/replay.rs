//! Replays what the fuzzers have found worth keeping, without libFuzzer: every crate with harnesses
//! includes this file in its tests, and calls it for each.
//!
//! A corpus is `fuzz/corpus/NAME/`, what once failed is in `fuzz/regressions/NAME/`; a file is an
//! input.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One input may take this long, in a build without optimisation on a busy machine too.
const INPUT_MAX: Duration = Duration::from_secs(20);

/// Runs the harness on every input kept for it; fails when one does, or takes too long, or there is
/// none.
#[track_caller]
pub(crate) fn replay(name: &str, harness: impl Fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut count = 0;
    for kind in ["corpus", "regressions"] {
        for path in inputs(&fuzz.join(kind).join(name)) {
            let bytes = std::fs::read(&path).expect("an input of the repository can be read");
            let began = Instant::now();
            // Says which input it was when the harness panics.
            let shown = Shown(&path);
            harness(&bytes);
            std::mem::forget(shown);
            let took = began.elapsed();
            assert!(took < INPUT_MAX, "{} took {took:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "there are no inputs for {name}");
}

struct Shown<'a>(&'a Path);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("it failed on {}", self.0.display());
    }
}

fn inputs(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .collect();
    paths.sort();
    paths
}
