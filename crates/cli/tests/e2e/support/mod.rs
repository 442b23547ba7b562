//! What the tests share: a cluster in a sandbox, questions to its engines and databases, and the
//! settings of the long tests.
//!
//! Decides nothing about what is right; the tests do.

pub(crate) mod cluster;
pub(crate) mod databases;
pub(crate) mod engines;
pub(crate) mod manifests;
pub(crate) mod operations;
pub(crate) mod settings;
pub(crate) mod web;

pub(crate) use cluster::{Cluster, THREE};

use std::time::Duration;

/// For everything that goes well.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
