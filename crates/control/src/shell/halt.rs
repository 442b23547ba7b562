//! Lets control stop itself, by SIGSTOP, exactly where an operation steps from one phase to the next:
//! a phase that is over in the same step of the core cannot be seen from outside.
//!
//! Only in builds with the feature `test-halt`, for the crash matrix, which then hits whom it wants to
//! hit and lets control go on. What the core decides is the same with and without it.

use flocker_core::cluster::{Change, Record};
use flocker_types::ids::OperationId;
use flocker_types::operation::{OperationStatus, Phase};
use nix::sys::signal::{Signal, raise};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The sides of the moment at which a step's changes become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of it is durable.
    Before,
    /// It is durable, and no command of it has left.
    After,
}

/// Where to stop is read from a file, `PLACE before` or `PLACE after`; it is removed when that has
/// happened. The place is a phase that is entered, `aborting`, `failed`, or `node` for one that joins.
#[derive(Debug)]
pub(crate) struct Halt {
    file: PathBuf,
    phases: BTreeMap<OperationId, Phase>,
}

impl Halt {
    /// Reads that file.
    pub(crate) fn new(file: PathBuf) -> Self {
        Self {
            file,
            phases: BTreeMap::new(),
        }
    }

    /// The side on which these changes are to stop control, if they are.
    pub(crate) fn due(&mut self, changes: &[Change]) -> Option<Side> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let (place, side) = text.trim().rsplit_once(' ').unwrap_or_default();
        let mut is_here = false;
        for change in changes {
            is_here |= match change {
                Change::Put(Record::Node(_)) => place == "node",
                Change::Put(Record::Operation(record)) => {
                    let now = record.operation.phase;
                    let before = self.phases.insert(record.operation.id, now);
                    let entered = Phase::ALL.iter().find(|phase| phase.to_string() == place);
                    let enters = entered.is_some_and(|entered| {
                        now >= *entered && before.is_none_or(|before| before < *entered)
                    });
                    enters
                        || match record.operation.status {
                            OperationStatus::Aborting { .. } => place == "aborting",
                            OperationStatus::Failed { .. } => place == "failed",
                            _ => false,
                        }
                }
                _ => false,
            };
        }
        let side = if side == "before" {
            Side::Before
        } else {
            Side::After
        };
        is_here.then_some(side)
    }

    /// Stops the process until somebody lets it go on.
    pub(crate) fn stop(&self) {
        tracing::warn!(file = %self.file.display(), "control stops itself, as its test wants it");
        let _gone = fs::remove_file(&self.file);
        let _stopped = raise(Signal::SIGSTOP);
    }
}
