//! Control's durable state: the [`StateStore`] trait, `redb`, its embedded implementation, and an
//! implementation in memory for tests of those who use a store.
//!
//! Control's shell calls it. It knows keys, values and revisions, and nothing of what they mean.

pub mod conformance;
pub mod memory_store;
pub mod redb_store;
pub mod state_store;

pub use memory_store::MemoryStore;
pub use redb_store::RedbStore;
pub use state_store::{
    Commit, Entry, Expect, StateStore, StoreError, StoreTrouble, Transaction, Write,
};
