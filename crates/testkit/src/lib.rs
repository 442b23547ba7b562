//! What tests, benchmarks and newcomers need around Flocker: a cluster of network namespaces on one
//!
//! Used by the `flocker sandbox` commands, by the demo and by end-to-end tests. Nothing that runs on
//! a real server depends on this crate.

pub mod process;
pub mod sandbox;
pub mod tool;
pub mod wait;
