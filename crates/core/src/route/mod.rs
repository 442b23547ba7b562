//! The route table: which listeners a proxy has open, and where a connection to each goes.
//!
//! Owns the newest route of every service on one node, the invariant *stale-rejected* for routes,
//! and the answer to two services wanting the same port. Called by the proxy's loop (net), which
//! carries out the [`Effect`]s that come back. Never opens a socket, reads a clock or waits.

mod decision;
mod table;

#[cfg(test)]
mod tests;

pub use decision::{Decision, Origin, decide};
pub use table::{
    Change, Effect, ListenerKey, Outcome, Problem, REMEMBERED_GONE_MAX, RouteTable, Target,
};
