//! The redb store on real files: the conformance suite, what is refused, and agreement with the
//! store in memory on random transactions.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use flocker_store::{
    Commit, Expect, MemoryStore, RedbStore, StateStore, StoreError, Transaction, Write, conformance,
};
use proptest::prelude::*;
use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn put(key: &str, value: &[u8]) -> Transaction {
    Transaction {
        expect: Vec::new(),
        writes: vec![Write::Put(key.to_owned(), value.to_vec())],
    }
}

/// The error with its sources, as a person sees it.
fn full_text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn refusal(path: &Path) -> String {
    full_text(&RedbStore::open(path).expect_err("must be refused"))
}

#[test]
fn passes_the_conformance_suite() {
    let directory = tempfile::tempdir().unwrap();
    for (number, (name, case)) in conformance::CASES.iter().enumerate() {
        let path = directory.path().join(format!("{number}.redb"));
        case(&mut || Ok(Box::new(RedbStore::open(&path)?)))
            .unwrap_or_else(|e| panic!("{name}: {}", full_text(&e)));
    }
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let first = RedbStore::open(&path).unwrap();
    let text = refusal(&path);
    assert!(text.contains("another process has it open"), "{text}");
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    drop(first);
    RedbStore::open(&path).unwrap();
}

/// An attempt that was cut short leaves a part under another name; an empty file is no store either.
#[test]
fn a_store_is_made_where_an_attempt_has_left_something() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let making = directory.path().join("state.redb.making");
    std::fs::write(&making, b"a part".repeat(1_000)).unwrap();
    std::fs::write(&path, b"").unwrap();
    let mut store = RedbStore::open(&path).unwrap();
    assert!(!making.exists());
    store.commit(&put("k", b"v")).unwrap();
    assert!(refusal(&path).contains("another process has it open"));
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.get("k").unwrap().unwrap().value, b"v");
}

/// Of several who make it at once one has it, and nothing that it writes is lost.
#[test]
fn of_several_who_make_it_at_once_one_has_it() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = directory.path().join(format!("{round}.redb"));
        let begin = std::sync::Barrier::new(8);
        let made: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        RedbStore::open(&path)
                    })
                })
                .collect();
            makers.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let mut stores: Vec<_> = made.into_iter().filter_map(Result::ok).collect();
        assert_eq!(stores.len(), 1, "round {round}");
        stores[0].commit(&put("k", b"v")).unwrap();
        drop(stores);
        let store = RedbStore::open(&path).unwrap();
        assert!(store.get("k").unwrap().is_some(), "round {round}");
    }
}

#[test]
fn only_the_owner_can_read_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let _store = RedbStore::open(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("text", b"this is not a database\n".repeat(1000)),
        ("short", b"x".to_vec()),
        ("zeros", vec![0; 8192]),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, &content).unwrap();
        let text = refusal(&path);
        assert!(
            text.contains("is not a state store, or is damaged"),
            "{name}: {text}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), content, "{name}");
    }
}

#[test]
fn a_damaged_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let mut store = RedbStore::open(&path).unwrap();
    for number in 0..200 {
        store
            .commit(&put(&format!("k{number}"), &[1; 1000]))
            .unwrap();
    }
    drop(store);
    let content = std::fs::read(&path).unwrap();
    std::fs::write(&path, &content[..content.len() / 2]).unwrap();
    let text = refusal(&path);
    assert!(
        text.contains("is not a state store, or is damaged"),
        "{text}"
    );
}

#[test]
fn a_missing_directory_is_named() {
    let text = refusal(Path::new("/nonexistent/flocker/state.redb"));
    assert!(text.contains("/nonexistent/flocker/state.redb"), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    drop(RedbStore::open(&path).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    let text = refusal(&path);
    assert!(text.contains("its format is 2"), "{text}");
}

/// Not a benchmark: it prints a figure, and fails only if commits are absurdly slow.
#[test]
fn commits_per_second() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(&directory.path().join("state.redb")).unwrap();
    let start = Instant::now();
    let commits = 200_u32;
    for number in 0..commits {
        store
            .commit(&put(&format!("operation/{}", number % 20), &[b'x'; 2000]))
            .unwrap();
    }
    let took = start.elapsed();
    println!("{:.0} commits/s", f64::from(commits) / took.as_secs_f64());
    assert!(
        took < Duration::from_secs(60),
        "{commits} commits took {took:?}"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u8, Choice)>, Vec<(u8, Option<u8>)>),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    Absent,
    /// The revision that the key has now, which holds if it is there.
    Current,
    Stale,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let choice = prop_oneof![
        1 => Just(Choice::Absent),
        3 => Just(Choice::Current),
        1 => Just(Choice::Stale)
    ];
    let expects = prop::collection::vec((0..6_u8, choice), 0..3);
    let writes = prop::collection::vec((0..6_u8, any::<Option<u8>>()), 0..4);
    let step = prop_oneof![
        8 => (expects, writes).prop_map(|(e, w)| Step::Commit(e, w)),
        1 => Just(Step::Reopen)
    ];
    prop::collection::vec(step, 1..30)
}

fn transaction(
    model: &MemoryStore,
    expects: &[(u8, Choice)],
    writes: &[(u8, Option<u8>)],
) -> Transaction {
    let expect = expects.iter().map(|(key, choice)| {
        let key = format!("k{key}");
        let revision = model.get(&key).unwrap().map_or(0, |entry| entry.revision);
        match choice {
            Choice::Absent => Expect::Absent(key),
            Choice::Current => Expect::Revision(key, revision),
            Choice::Stale => Expect::Revision(key, revision.saturating_sub(1)),
        }
    });
    let write = writes.iter().map(|(key, value)| match value {
        Some(value) => Write::Put(format!("k{key}"), vec![*value; usize::from(*value)]),
        None => Write::Delete(format!("k{key}")),
    });
    Transaction {
        expect: expect.collect(),
        writes: write.collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Both stores number commits 1, 2, 3 ..., so their answers can be compared whole.
    #[test]
    fn agrees_with_the_store_in_memory(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.redb");
        let mut model = MemoryStore::default();
        let mut store = RedbStore::open(&path).unwrap();
        let mut conflicts = 0;
        for step in &steps {
            match step {
                Step::Commit(expects, writes) => {
                    let transaction = transaction(&model, expects, writes);
                    let answer = store.commit(&transaction).unwrap();
                    prop_assert_eq!(&answer, &model.commit(&transaction).unwrap());
                    conflicts += u32::from(matches!(answer, Commit::Conflict(_)));
                }
                Step::Reopen => {
                    drop(store);
                    store = RedbStore::open(&path).unwrap();
                }
            }
            prop_assert_eq!(store.range("").unwrap(), model.range("").unwrap());
        }
        prop_assert!(conflicts <= u32::try_from(steps.len()).unwrap());
    }
}
