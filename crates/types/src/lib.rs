//! The words of Flocker as types: identifiers, epochs, sizes, what an application is, and every
//! message that crosses a process boundary.
//!
//! Every other crate uses this one; it uses none of them. It holds data and the rules that a single
//! value must satisfy (a name is well formed, an epoch only grows). It never decides, waits,
//! reads a clock or touches a file.

pub mod access;
pub mod api;
pub mod app;
pub mod container;
pub mod ids;
pub mod limits;
pub mod link;
pub mod operation;
pub mod plan;
pub mod route;
pub mod secret;
pub mod stream;
pub mod task;
pub mod time;
mod validity;
pub mod volume;
