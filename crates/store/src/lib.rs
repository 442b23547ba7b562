//! Control's durable state: the [`StateStore`] trait and `redb`, its embedded implementation.
//!
//! Control's shell calls it. It knows keys, values and revisions, and nothing of what they mean.

pub mod state_store;

pub use state_store::{Commit, Entry, Expect, StateStore, StoreError, Transaction, Write};
