//! The trait of control's durable state: read, range, and one transaction that compares before it
//! writes.

use std::fmt;

/// A key with its value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Slash-separated, as in `volume/<id>`.
    pub key: String,
    /// Whatever the caller wrote.
    pub value: Vec<u8>,
    /// The store's revision when it was written.
    pub revision: u64,
}

/// Something that must be so for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// There is no such key.
    Absent(String),
    /// The key's value was last written at this revision.
    Revision(String, u64),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(String, Vec<u8>),
    /// Removes a key; nothing happens if there is none.
    Delete(String),
}

/// All of it happens, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Checked first.
    pub expect: Vec<Expect>,
    /// Carried out in order.
    pub writes: Vec<Write>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// It is durable, at this revision.
    Done {
        /// Greater than every earlier one.
        revision: u64,
    },
    /// This expectation does not hold; nothing was written.
    Conflict(Expect),
}

/// Durable state with compare-and-swap. Calls block until the disk has answered.
pub trait StateStore: Send + fmt::Debug {
    /// One key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Every key that starts with `prefix`, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Checks and writes as one. When it returns [`Commit::Done`] the writes survive a loss of power.
    ///
    /// # Errors
    /// When the store cannot be read or written; then nobody knows whether the writes happened,
    /// and the caller has to read again.
    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, StoreError>;
}

/// Why a store failed, as far as it makes a difference to whoever has to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreTrouble {
    /// Another process has it open.
    InUse,
    /// What is there is no store, or is damaged. Trying again does not help.
    Damaged,
    /// The disk is full. What was there before is still there.
    Full,
    /// Anything else.
    Other,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the state store at {path}")]
pub struct StoreError {
    /// "open", "read", "write".
    pub action: &'static str,
    /// Its file.
    pub path: String,
    /// What kind of trouble it is.
    pub trouble: StoreTrouble,
    /// The reason.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
