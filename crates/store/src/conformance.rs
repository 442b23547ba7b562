//! What every [`StateStore`] must do, as a suite that each implementation's tests run.
//!
//! Tests of the implementations call it, each case with a store of its own. It only uses the trait,
//! so it never knows which implementation it runs against. It panics where a rule is broken.

use crate::state_store::{Commit, Entry, Expect, StateStore, StoreError, Transaction, Write};

/// Opens the store. The first call finds it empty; each later one finds what was committed before,
/// as a process that starts again would. The earlier one is dropped first.
pub type Open<'a> = &'a mut dyn FnMut() -> Result<Box<dyn StateStore>, StoreError>;

/// One rule, shown on a store that is empty.
///
/// # Errors
/// When the store itself fails.
pub type Case = fn(Open<'_>) -> Result<(), StoreError>;

/// The suite. Each case wants an empty store of its own.
pub const CASES: &[(&str, Case)] = &[
    ("an empty store has nothing", empty_has_nothing),
    (
        "a value can be read as it was written",
        reads_what_was_written,
    ),
    ("revisions only grow", revisions_only_grow),
    ("an absent key is expected absent", absent_is_checked),
    ("the expected revision is compared", revision_is_compared),
    ("a conflict writes nothing", conflict_writes_nothing),
    (
        "the first broken expectation is named",
        first_conflict_is_named,
    ),
    (
        "a key that came back has another revision",
        no_old_revision_returns,
    ),
    (
        "the writes of one transaction are in order",
        writes_are_in_order,
    ),
    ("a range has its prefix and is in order", range_is_in_order),
    (
        "everything is there after opening again",
        reopen_keeps_everything,
    ),
    ("revisions go on after opening again", reopen_keeps_counting),
    ("a transaction may be large", large_transaction),
];

fn put(key: &str, value: &[u8]) -> Write {
    Write::Put(key.to_owned(), value.to_vec())
}

fn delete(key: &str) -> Write {
    Write::Delete(key.to_owned())
}

fn absent(key: &str) -> Expect {
    Expect::Absent(key.to_owned())
}

fn at(key: &str, revision: u64) -> Expect {
    Expect::Revision(key.to_owned(), revision)
}

fn commit(
    store: &mut dyn StateStore,
    expect: &[Expect],
    writes: &[Write],
) -> Result<Commit, StoreError> {
    store.commit(&Transaction {
        expect: expect.to_vec(),
        writes: writes.to_vec(),
    })
}

/// Commits what cannot conflict.
fn done(
    store: &mut dyn StateStore,
    expect: &[Expect],
    writes: &[Write],
) -> Result<u64, StoreError> {
    match commit(store, expect, writes)? {
        Commit::Done { revision } => Ok(revision),
        Commit::Conflict(broken) => panic!("{broken:?} holds, yet the store says it does not"),
    }
}

fn entry(key: &str, value: &[u8], revision: u64) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.to_vec(),
        revision,
    }
}

fn empty_has_nothing(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    assert_eq!(store.get("a")?, None);
    assert_eq!(store.range("")?, Vec::new());
    done(store.as_mut(), &[], &[delete("a")])?;
    assert_eq!(store.range("")?, Vec::new());
    Ok(())
}

fn reads_what_was_written(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let bytes: Vec<u8> = (0..=255).collect();
    for (key, value) in [
        ("volume/1", bytes.as_slice()),
        ("empty value", b""),
        ("ünï/☃", b"x"),
        ("", b"empty key"),
    ] {
        let revision = done(store.as_mut(), &[], &[put(key, value)])?;
        assert_eq!(store.get(key)?, Some(entry(key, value, revision)));
    }
    assert_eq!(store.get("volume/")?, None);
    assert_eq!(store.get("volume/11")?, None);
    Ok(())
}

fn revisions_only_grow(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let mut last = 0;
    for writes in [
        vec![put("a", b"1")],
        vec![put("b", b"1"), put("c", b"1")],
        vec![delete("a")],
        vec![delete("was never there")],
        vec![],
        vec![put("a", b"2")],
    ] {
        let revision = done(store.as_mut(), &[], &writes)?;
        assert!(revision > last, "{revision} after {last}");
        last = revision;
    }
    Ok(())
}

fn absent_is_checked(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    done(store.as_mut(), &[absent("a")], &[put("a", b"1")])?;
    assert_eq!(
        commit(store.as_mut(), &[absent("a")], &[put("a", b"2")])?,
        Commit::Conflict(absent("a"))
    );
    done(store.as_mut(), &[], &[delete("a")])?;
    done(store.as_mut(), &[absent("a")], &[put("a", b"3")])?;
    Ok(())
}

fn revision_is_compared(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let first = done(store.as_mut(), &[], &[put("a", b"1")])?;
    let other = done(store.as_mut(), &[], &[put("b", b"1")])?;
    let second = done(store.as_mut(), &[at("a", first)], &[put("a", b"2")])?;
    for stale in [0, first, other, second + 1] {
        assert_eq!(
            commit(store.as_mut(), &[at("a", stale)], &[put("a", b"3")])?,
            Commit::Conflict(at("a", stale))
        );
    }
    assert_eq!(
        commit(store.as_mut(), &[at("never", first)], &[])?,
        Commit::Conflict(at("never", first))
    );
    assert_eq!(store.get("a")?, Some(entry("a", b"2", second)));
    // An expectation without a write of the same key is checked, too.
    done(store.as_mut(), &[at("a", second)], &[put("c", b"1")])?;
    assert_eq!(store.get("a")?, Some(entry("a", b"2", second)));
    Ok(())
}

fn conflict_writes_nothing(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let revision = done(store.as_mut(), &[], &[put("a", b"1"), put("b", b"1")])?;
    let refused = commit(
        store.as_mut(),
        &[at("a", revision), absent("b")],
        &[put("a", b"2"), delete("b"), put("c", b"1")],
    )?;
    assert_eq!(refused, Commit::Conflict(absent("b")));
    assert_eq!(
        store.range("")?,
        [entry("a", b"1", revision), entry("b", b"1", revision)]
    );
    Ok(())
}

fn first_conflict_is_named(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let refused = commit(
        store.as_mut(),
        &[absent("a"), at("b", 7), at("c", 8)],
        &[put("a", b"1")],
    )?;
    assert_eq!(refused, Commit::Conflict(at("b", 7)));
    Ok(())
}

fn no_old_revision_returns(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let first = done(store.as_mut(), &[], &[put("a", b"same")])?;
    done(store.as_mut(), &[], &[delete("a")])?;
    let second = done(store.as_mut(), &[], &[put("a", b"same")])?;
    assert_ne!(first, second);
    assert_eq!(
        commit(store.as_mut(), &[at("a", first)], &[put("a", b"x")])?,
        Commit::Conflict(at("a", first))
    );
    Ok(())
}

fn writes_are_in_order(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let writes = [
        put("a", b"1"),
        put("a", b"2"),
        put("b", b"1"),
        delete("b"),
        delete("c"),
        put("c", b"1"),
    ];
    // Expectations are about the state before: `c` is absent although it is written.
    let revision = done(store.as_mut(), &[absent("c")], &writes)?;
    assert_eq!(
        store.range("")?,
        [entry("a", b"2", revision), entry("c", b"1", revision)]
    );
    Ok(())
}

fn range_is_in_order(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let keys = ["b/2", "a", "b/10", "b", "c/1", "b/", "b0", "b/ü", "b/~"];
    let writes: Vec<Write> = keys.iter().map(|key| put(key, b"x")).collect();
    done(store.as_mut(), &[], &writes)?;
    let found = |store: &dyn StateStore, prefix: &str| -> Result<Vec<String>, StoreError> {
        Ok(store.range(prefix)?.into_iter().map(|e| e.key).collect())
    };
    // Order is that of the bytes.
    assert_eq!(
        found(store.as_ref(), "b/")?,
        ["b/", "b/10", "b/2", "b/~", "b/ü"]
    );
    assert_eq!(
        found(store.as_ref(), "b")?,
        ["b", "b/", "b/10", "b/2", "b/~", "b/ü", "b0"]
    );
    assert_eq!(found(store.as_ref(), "c/1")?, ["c/1"]);
    assert_eq!(found(store.as_ref(), "c/11")?, [""; 0]);
    assert_eq!(found(store.as_ref(), "")?.len(), keys.len());
    Ok(())
}

fn reopen_keeps_everything(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let mut expected = Vec::new();
    for number in 0..50_u8 {
        let key = format!("k/{number:03}");
        let revision = done(
            store.as_mut(),
            &[absent(&key)],
            &[put(&key, &[number; 100])],
        )?;
        expected.push(entry(&key, &[number; 100], revision));
    }
    drop(store);
    let mut store = open()?;
    assert_eq!(store.range("k/")?, expected);
    done(store.as_mut(), &[], &[delete("k/007")])?;
    drop(store);
    expected.remove(7);
    assert_eq!(open()?.range("k/")?, expected);
    Ok(())
}

fn reopen_keeps_counting(open: Open<'_>) -> Result<(), StoreError> {
    let mut last = 0;
    for _ in 0..3 {
        let mut store = open()?;
        // The newest revision belongs to no key: the counter must be kept on its own.
        for writes in [vec![put("a", b"1")], vec![delete("a")], vec![]] {
            let revision = done(store.as_mut(), &[], &writes)?;
            assert!(revision > last, "{revision} after {last}");
            last = revision;
        }
    }
    Ok(())
}

fn large_transaction(open: Open<'_>) -> Result<(), StoreError> {
    let mut store = open()?;
    let value = vec![7_u8; 1024 * 1024];
    let mut writes: Vec<Write> = (0..2_000)
        .map(|number| put(&format!("small/{number:05}"), b"value"))
        .collect();
    writes.push(put("large", &value));
    let revision = done(store.as_mut(), &[], &writes)?;
    assert_eq!(store.get("large")?, Some(entry("large", &value, revision)));
    assert_eq!(store.range("small/")?.len(), 2_000);
    Ok(())
}
