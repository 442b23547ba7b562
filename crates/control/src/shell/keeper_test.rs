//! The keeper: every key guarded, the latest change of a key counts, damaged records named.

use super::*;
use flocker_core::cluster::{Key, MetaRecord, Record, TokenRecord};
use flocker_store::MemoryStore;
use flocker_types::ids::{ClusterId, Generation};
use flocker_types::time::UnixMs;
use uuid::Uuid;

fn meta(generation: u64) -> Change {
    Change::Put(Record::Meta(MetaRecord {
        cluster: ClusterId(Uuid::from_u128(1)),
        generation: Generation(generation),
        service_network: "10.213.0.0/16".parse().unwrap(),
        container_network: "10.214.0.0/16".parse().unwrap(),
    }))
}

fn token(id: &str) -> Change {
    Change::Put(Record::Token(TokenRecord {
        id: id.to_owned(),
        secret_sha256: "0".repeat(64),
        expires: UnixMs(7),
        node: None,
    }))
}

fn keeper_with(store: &MemoryStore, changes: Vec<Change>) -> Keeper {
    let mut keeper = Keeper::of_empty(Box::new(store.reopen()));
    keeper.keep(changes).unwrap();
    keeper
}

#[test]
fn what_was_kept_is_loaded_and_changed_again() {
    let store = MemoryStore::default();
    keeper_with(&store, vec![meta(1), token("a"), token("b")]);
    let (mut keeper, state) = Keeper::load(Box::new(store.reopen())).unwrap();
    assert_eq!(state.meta.generation, Generation(1));
    assert_eq!(state.tokens.len(), 2);
    keeper
        .keep(vec![meta(2), Change::Delete(Key::Token("a".into()))])
        .unwrap();
    keeper.keep(vec![meta(3), token("a")]).unwrap();
    let (_, state) = Keeper::load(Box::new(store.reopen())).unwrap();
    assert_eq!(state.meta.generation, Generation(3));
    assert_eq!(state.tokens.len(), 2);
}

#[test]
fn the_latest_change_of_a_key_counts() {
    let store = MemoryStore::default();
    let mut keeper = keeper_with(&store, vec![meta(1), meta(2), token("a")]);
    let gone = || Change::Delete(Key::Token("a".into()));
    keeper.keep(vec![gone(), token("a"), gone()]).unwrap();
    keeper.keep(vec![gone()]).unwrap();
    let (_, state) = Keeper::load(Box::new(store.reopen())).unwrap();
    assert_eq!(state.meta.generation, Generation(2));
    assert!(state.tokens.is_empty());
}

#[test]
fn a_key_that_somebody_else_wrote_stops_the_whole_transaction() {
    let store = MemoryStore::default();
    let mut first = keeper_with(&store, vec![meta(1)]);
    let (mut second, _) = Keeper::load(Box::new(store.reopen())).unwrap();
    second.keep(vec![meta(2), token("theirs")]).unwrap();
    for changes in [vec![token("ours"), meta(5)], vec![token("theirs")]] {
        let refused = first.keep(changes);
        assert!(
            matches!(refused, Err(KeepError::Conflict { .. })),
            "{refused:?}"
        );
    }
    let (_, state) = Keeper::load(Box::new(store.reopen())).unwrap();
    assert_eq!(state.meta.generation, Generation(2));
    assert!(!state.tokens.contains_key("ours"));
}

#[test]
fn a_damaged_record_is_named() {
    let mut store = MemoryStore::default();
    let failed = Keeper::load(Box::new(store.reopen()));
    assert!(matches!(failed, Err(LoadError::NoCluster)));
    let write = Write::Put("meta".into(), b"{}".to_vec());
    let transaction = Transaction {
        expect: Vec::new(),
        writes: vec![write],
    };
    store.commit(&transaction).unwrap();
    let failed = Keeper::load(Box::new(store));
    assert!(matches!(failed, Err(LoadError::Record { key, .. }) if key == "meta"));
}
