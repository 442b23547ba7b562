//! The scripts that count: what CI reports must be what the runners said.

use crate::repository::{assert_none, files, root};
use std::process::Command;

fn counted(result: &str, test_log: &str, verify_log: &str) -> String {
    let directory = std::env::temp_dir().join(format!(
        "flocker-tidy-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&directory).unwrap();
    let (test, verify) = (directory.join("test"), directory.join("verify"));
    std::fs::write(&test, test_log).unwrap();
    std::fs::write(&verify, verify_log).unwrap();
    let output = Command::new("scripts/count-results.sh")
        .arg(result)
        .args([&test, &verify])
        .current_dir(root())
        .output()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn tests_and_steps_are_counted() {
    let nextest = "== build: ok (9 s)\n     Summary [   2.482s] 24 tests run: 24 passed (1 slow), 0 skipped\n== tests: ok (3 s)\n";
    let verify = "== format: ok (1 s)\n     Summary [ 1s] 9 tests run: 9 passed, 0 skipped\n== unit-tests: ok (1 s)\n";
    assert_eq!(counted("0", nextest, verify), "26 passed, 0 failed");
    let failing = "     Summary [ 10.1s] 20/24 tests run: 17 passed, 2 failed, 1 timed out, 4 skipped\n== tests: FAILED (11 s)\n";
    assert_eq!(counted("1", failing, verify), "18 passed, 3 failed");
    let cargo = "test result: ok. 3 passed; 0 failed; 0 ignored\ntest result: FAILED. 4 passed; 2 failed; 0 ignored\n";
    assert_eq!(
        counted("1", cargo, "== clippy: FAILED (1 s)\n"),
        "7 passed, 3 failed"
    );
}

#[test]
fn a_failure_without_a_summary_is_counted() {
    assert_eq!(counted("1", "", ""), "0 passed, 1 failed");
    let no_build = "== build: FAILED (3 s)\n";
    assert_eq!(counted("1", no_build, ""), "0 passed, 1 failed");
    let crashed = "== build: ok (3 s)\n== tests: FAILED (3 s)\n";
    assert_eq!(counted("1", crashed, ""), "1 passed, 1 failed");
}

#[test]
fn every_script_can_be_read_by_bash() {
    let mut violations = Vec::new();
    let mut checked = 0;
    for file in files() {
        if file.text.starts_with("#!/usr/bin/env bash\n") {
            checked += 1;
            let output = Command::new("bash")
                .args(["-n", &file.path])
                .current_dir(root())
                .output()
                .unwrap();
            if !output.status.success() {
                violations.push(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
    }
    assert!(checked >= 6, "only {checked} scripts were found");
    assert_none(&violations);
}
