//! The redb store when its process is killed without warning: what was acknowledged stays, and a
//! transaction is there whole or not at all.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use flocker_store::{Commit, RedbStore, StateStore, Transaction, Write};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set for the child, to the store that it shall write.
const CHILD_STORE: &str = "FLOCKER_STORE_CRASH_TEST";
/// Comes before each number that the child acknowledges.
const ACKNOWLEDGED: &str = "acknowledged ";

/// The test's executable runs a second time as the writer, so that there is a process to kill.
#[test]
fn acknowledged_writes_survive_a_kill() {
    if let Some(path) = std::env::var_os(CHILD_STORE) {
        write_until_killed(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let mut written = 0;
    for acknowledgements in [1, 2, 3, 10, 25, 60, 5, 100] {
        let acknowledged = kill_writer_after(&path, acknowledgements);
        let found = check_store(&path);
        assert!(
            found >= acknowledged && acknowledged >= written + acknowledgements,
            "{acknowledged} acknowledged, {found} found, {written} from earlier rounds"
        );
        written = found;
    }
}

/// Each transaction writes a pair and a counter, then says so.
fn write_until_killed(path: &Path) -> ! {
    let mut store = RedbStore::open(path).unwrap();
    let mut number = u64::try_from(store.range("a/").unwrap().len()).unwrap();
    loop {
        number += 1;
        let value = number.to_be_bytes().repeat(100);
        let transaction = Transaction {
            expect: Vec::new(),
            writes: vec![
                Write::Put(format!("a/{number:08}"), value.clone()),
                Write::Put(format!("b/{number:08}"), value),
                Write::Put("count".to_owned(), number.to_string().into_bytes()),
            ],
        };
        let Commit::Done { .. } = store.commit(&transaction).unwrap() else {
            panic!("no expectation, no conflict");
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{ACKNOWLEDGED}{number}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts a writer, kills it after so many acknowledgements, and returns the last number that it
/// acknowledged at all.
fn kill_writer_after(path: &Path, acknowledgements: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "acknowledged_writes_survive_a_kill",
            "--nocapture",
        ])
        .env(CHILD_STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut count = 0;
    // After the kill the pipe ends; what was still in it was acknowledged, too.
    for line in lines {
        let line = line.unwrap();
        let Some(number) = line.strip_prefix(ACKNOWLEDGED) else {
            continue;
        };
        last = number.parse().unwrap();
        count += 1;
        if count == acknowledgements {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the writer must die by the signal");
    last
}

/// How many transactions the store has; each must be whole, and none may be missing in between.
fn check_store(path: &Path) -> u64 {
    let store = RedbStore::open(path).unwrap();
    let (left, right) = (store.range("a/").unwrap(), store.range("b/").unwrap());
    assert_eq!(left.len(), right.len());
    for (index, (a, b)) in left.iter().zip(&right).enumerate() {
        let number = u64::try_from(index).unwrap() + 1;
        assert_eq!(a.key, format!("a/{number:08}"));
        assert_eq!(b.key, format!("b/{number:08}"));
        assert_eq!(a.revision, b.revision);
        assert_eq!(a.value, number.to_be_bytes().repeat(100));
        assert_eq!(a.value, b.value);
    }
    let found = u64::try_from(left.len()).unwrap();
    let count = store.get("count").unwrap().unwrap();
    assert_eq!(count.value, found.to_string().into_bytes());
    found
}
