//! Flocker as people meet it, on sandboxes: real engines, real pools, real databases, real faults.
//!
//! `cargo nextest` runs each test in a process of its own, one at a time, as root. Every test makes a
//! sandbox, prints what it measured, and takes the sandbox down however it ends. How much the long
//! ones do is set by the variables that [`support::settings`] reads.

mod moves;
mod support;
