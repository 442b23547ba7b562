//! The model check: every order in which messages, jobs, news and faults can come during an operation,
//! on the real cores.
//!
//! `Control`, one `Agent` per node and the `RouteTable` of each proxy are those that are shipped; what is
//! round them is a small model (`state.rs`, `pool.rs`, `jobs.rs`). [`explore()`] goes through all states
//! of a [`scenario::Scenario`], breadth first, and checks the properties of [`property::Property`];
//! what it finds is told by the fewest steps. `docs/model.md` says what is covered and what is left out.
//!
//! Called by its binary and its tests. Nothing in here decides what the product does.

mod action;
mod apply;
mod check;
mod explore;
mod jobs;
mod machine;
mod pool;
pub mod property;
pub mod scenario;
mod shared;
mod state;
mod story;

pub use explore::{Report, calm, explore};
