//! Flocker as people meet it, on sandboxes: real engines, real pools, real databases, real faults.
//!
//! `cargo nextest` runs each test in a process of its own, one at a time, as root. Every test makes a
//! sandbox, prints what it measured, and takes the sandbox down however it ends. How much the long
//! ones do is set by the variables that [`support::settings`] reads.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this is a test: it fails by panicking and prints what it measured"
)]

mod access;
mod attacks;
mod crash;
mod known_failures;
mod long;
mod moves;
mod recover;
mod rotation;
mod services;
mod shop;
mod support;
