//! The crate's integration tests, as one binary. Each module holds one kind of test.

mod suite {
    pub(crate) mod bad_v1;
    pub(crate) mod old_manifests;
    pub(crate) mod support;
}
