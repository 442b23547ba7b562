//! Named bugs that can be put into the core, one at a time, so that the simulator and the model check
//! can show that they would find them.
//!
//! Each is a mistake that a programmer could have made, at the place where it could have been made:
//! a condition `planted(Mutant::...)` in the code. With the feature `mutants` off, which it is in
//! everything that is shipped, `planted` is a constant and the compiler removes the condition; the
//! binary refuses to be compiled with the feature on. With it on, `plant` switches one bug on for
//! the calling thread.
//!
//! Called by the decisions of this crate, and by the tools that plant. Decides nothing itself.

/// Whether this build can plant bugs.
pub const COMPILED_IN: bool = cfg!(feature = "mutants");

macro_rules! mutants {
    ($($(#[doc = $bug:literal])+ $name:ident breaks $breaks:literal;)+) => {
        /// A bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[doc = $bug])+ ///
            #[doc = concat!("Breaks: ", $breaks, ".")] $name,)+
        }

        impl Mutant {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name, as tools show and take it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What is wrong, in a sentence.
            pub const fn bug(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($bug),+).trim_ascii(),)+
                }
            }

            /// Which promise it breaks: an invariant of the design, or one of the simulator's.
            pub const fn breaks(self) -> &'static str {
                match self {
                    $(Self::$name => $breaks,)+
                }
            }
        }
    };
}

mutants! {
    /// A plan is executed although what it was made from has changed.
    StalePlanExecuted breaks "commit-once";
    /// A service that has an operation gets another one.
    TwoOperations breaks "one operation on a service";
    /// The counter of generations is not written down.
    GenerationNotKept breaks "stale-rejected";
    /// The commit changes the volume's record in memory and does not write it.
    CommitNotWritten breaks "commit-once";
    /// The commit changes the holder and keeps the epoch.
    EpochNotIncremented breaks "commit-once";
    /// The target's word for a head counts, whichever snapshot it names.
    AnyHeadProves breaks "nothing-lost";
    /// The last round made while the service ran counts as the final one.
    LastDeltaSkipped breaks "nothing-lost";
    /// The source's container is told to stop, and nobody waits for it.
    StopNotAwaited breaks "one-writer";
    /// "It has stopped", said under an older directive, counts for the present one.
    OldStopBelieved breaks "nothing-lost";
    /// What a container did under an older directive counts as the answer to the present one.
    OldStartBelieved breaks "a planned operation without faults succeeds";
    /// A failure after the commit starts the source again.
    SourceStartedAfterCommit breaks "commit-once";
    /// The way back starts the service on the target.
    TargetStartedByAbort breaks "commit-once";
    /// The way back leaves the source stopped.
    SourceLeftStopped breaks "commit-once";
    /// The way back leaves the prepared container on the target.
    TargetNotCleared breaks "the cluster heals";
    /// The way back does not end the hold.
    HoldNotEnded breaks "the cluster heals";
    /// Routes lead to the target before its container is ready.
    ReleasedBeforeReady breaks "hold-is-comfort";
    /// A proxy that does not confirm is waited for without a limit.
    ProxyAwaitedForEver breaks "hold-is-comfort";
    /// A node that is away is waited for without a limit.
    NodeAwaitedForEver breaks "every operation ends";
    /// A task that fails is tried again without a limit.
    RetriedForEver breaks "every operation ends";
    /// The report of an older task of the same operation counts as that of the present one.
    OldTaskBelieved breaks "nothing-lost";
    /// What was written as the name of the last snapshot is used for the next one too.
    SnapshotNameReused breaks "nothing-lost";
    /// Tasks are not given again to an agent that connects again.
    TasksNotGivenAgain breaks "every operation ends";
    /// What arrives on a connection that a newer one has replaced still counts.
    OldSessionHeard breaks "stale-rejected";
    /// The end of a connection that a newer one has replaced ends the newer one.
    OldSessionEndsNew breaks "the cluster heals";
    /// The old holder's copy stays writable.
    OldHolderKept breaks "one-writer";
    /// The old holder's copy becomes a replica at its oldest snapshot instead of the committed head.
    DemotedAtWrongHead breaks "nothing-lost";
    /// The newest snapshot that two copies share is deleted with the old ones.
    CommonBasePruned breaks "a move back sends a delta";
    /// Removing a service deletes its volumes.
    VolumeGoesWithService breaks "removal-is-explicit";
    /// A volume is deleted without waiting for the grace time.
    GraceTimeSkipped breaks "removal-is-explicit";
    /// A volume that a service writes can be deleted.
    VolumeInUseDeleted breaks "removal-is-explicit";
    /// A service that is deployed again gets a new, empty volume.
    VolumeMadeAnew breaks "removal-is-explicit";
    /// A token lets any number of nodes join.
    TokenKept breaks "a token is good for one node";
    /// An agent starts a service with volumes before control has spoken.
    StartedUnconfirmed breaks "start-after-confirm";
    /// An agent acts on a directive without writing it down.
    DirectiveNotKept breaks "data-outlives-control";
    /// An agent obeys an older directive than the one it has.
    OldDirectiveObeyed breaks "stale-rejected";
    /// An agent receives a volume in whatever epoch it is sent.
    OldEpochReceived breaks "stale-rejected";
    /// An agent that has become the holder still lets the old one send.
    GrantNotWithdrawn breaks "stale-rejected";
    /// An agent gives up a copy that its own service writes.
    WriterDemoted breaks "one-writer";
    /// An agent does not notice that a container ended.
    ExitIgnored breaks "the cluster heals";
    /// An agent takes a container that a reboot ended for one that ended by itself.
    RebootTakenForExit breaks "the cluster heals";
    /// An agent says the end of a task once; when the link is down, never.
    ReportSaidOnce breaks "every operation ends";
    /// A proxy puts an older route in force over a newer one.
    OldRouteApplied breaks "stale-rejected";
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// From now on, in this thread, the core has this bug and no other.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    pub(crate) fn planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }
}
#[cfg(feature = "mutants")]
pub use switch::plant;
#[cfg(feature = "mutants")]
pub(crate) use switch::planted;

/// Whether the core has this bug now. Never, in what is shipped.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::Mutant;

    #[test]
    fn every_bug_is_told_in_a_sentence() {
        for mutant in Mutant::ALL {
            assert!(mutant.bug().ends_with('.'), "{}", mutant.name());
            assert!(!mutant.breaks().is_empty(), "{}", mutant.name());
        }
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn one_bug_at_a_time() {
        use super::{plant, planted};
        assert!(!planted(Mutant::EpochNotIncremented));
        plant(Some(Mutant::EpochNotIncremented));
        assert!(planted(Mutant::EpochNotIncremented));
        assert!(!planted(Mutant::TwoOperations));
        plant(None);
        assert!(!planted(Mutant::EpochNotIncremented));
    }
}
