//! The decisions. Everything that is hard to get right is in here, without IO: no runtime, clock,
//! file, random number or log.
//!
//! Two state machines, [`control::Control`] and [`agent::Agent`], are each stepped by a shell of
//! their own: `step(now, event) -> output`. The shell persists what the output says, then carries
//! out its commands. [`plan`] turns a manifest and the cluster's state into a plan; [`recover`] makes the
//! state again from what the nodes hold.

pub mod agent;
pub mod cluster;
pub mod control;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod mutant;
pub mod operation;
pub mod plan;
pub mod recover;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
pub mod route;
