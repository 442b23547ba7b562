//! What must hold, each with the invariant of the design that it is, and how its breach is told.

use std::fmt;

/// A property that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// A volume is written by one container, on the node that the store names as its holder.
    OneWriter,
    /// A container begins with everything that was ever written; nothing comes after a final snapshot.
    NothingLost,
    /// The head at which the present epoch began is not deleted where the epoch has yet to begin.
    HeadKept,
    /// Holder and epoch change together, by one, in one transaction with the service, when nobody writes
    /// and the new holder has everything.
    CommitOnce,
    /// Ledgers, copies and routes never go back; generations are never used twice.
    StaleRejected,
    /// No service with volumes is started before control has spoken to this process of the agent.
    StartAfterConfirm,
    /// At rest, every route leads to where the service runs, and none holds.
    HoldEnds,
    /// At rest, every operation has ended, and each service runs where its record says and nowhere else.
    OperationEnds,
    /// At rest, holder and replicas are what the store says, and labels describe them.
    LabelsFit,
    /// Copies of volumes do not go away.
    RemovalIsExplicit,
    /// Without any fault every operation succeeds.
    CalmSucceeds,
    /// An assertion of the core.
    Assertion,
}

impl Property {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::OneWriter,
        Self::NothingLost,
        Self::HeadKept,
        Self::CommitOnce,
        Self::StaleRejected,
        Self::StartAfterConfirm,
        Self::HoldEnds,
        Self::OperationEnds,
        Self::LabelsFit,
        Self::RemovalIsExplicit,
        Self::CalmSucceeds,
        Self::Assertion,
    ];
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OneWriter => "one-writer",
            Self::NothingLost => "nothing-lost",
            Self::HeadKept => "nothing-lost (the head is kept)",
            Self::CommitOnce => "commit-once",
            Self::StaleRejected => "stale-rejected",
            Self::StartAfterConfirm => "start-after-confirm",
            Self::HoldEnds => "hold-is-comfort (it ends)",
            Self::OperationEnds => "every operation ends with one running copy",
            Self::LabelsFit => "data-outlives-control (labels fit)",
            Self::RemovalIsExplicit => "removal-is-explicit",
            Self::CalmSucceeds => "without a fault every operation succeeds",
            Self::Assertion => "the core's own assertions",
        })
    }
}

/// A property does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// What was seen.
    pub what: String,
}

pub(crate) fn broken(property: Property, what: impl Into<String>) -> Violation {
    Violation {
        property,
        what: what.into(),
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}
