//! What tests, benchmarks and newcomers need around Flocker: a cluster of network namespaces on one
//! machine, and fakes of what a node has, in memory.
//!
//! Used by the `flocker sandbox` commands, by the demo and by tests. Nothing that runs on a real
//! server depends on this crate.

pub mod fakes;
pub mod process;
pub mod sandbox;
pub mod tool;
pub mod wait;
