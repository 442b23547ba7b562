//! The crate's integration tests, as one binary. Each module holds one kind of test.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod suite {
    pub(crate) mod bad;
    pub(crate) mod combining;
    pub(crate) mod expected;
    pub(crate) mod good;
    pub(crate) mod limits;
    pub(crate) mod old_manifests;
    pub(crate) mod oracle;
    pub(crate) mod rendering;
    pub(crate) mod support;
}
