//! A node's storage and container runtime in memory, with faults on demand.
//!
//! Unit tests of the agent's shell use them where real pools and engines would be slow or could not
//! be made to fail at a chosen call. They keep the contracts of the traits, which a test shared
//! with the real ones checks, and they never touch the machine.

mod containers;
mod faults;
mod images;
mod runtime;
mod volume_content;
mod volume_copies;
mod volume_store;

pub use faults::{Fault, Faults};
pub use runtime::{FakeRuntime, RuntimeCall};
pub use volume_store::{FakeVolumeStore, StorageCall};
