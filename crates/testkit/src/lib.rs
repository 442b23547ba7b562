//! What tests, benchmarks and newcomers need around Flocker: a cluster of network namespaces on one
//! machine, images without a registry, programs that write to a database and check it, and fakes of
//! what a node has, in memory.
//!
//! Used by the `flocker sandbox` commands, by the demo and by tests. Nothing that runs on a real
//! server depends on this crate.

pub mod fakes;
pub mod images;
pub mod load;
pub mod machines;
pub mod process;
pub mod sandbox;
pub mod tool;
pub mod wait;
