//! Container runtimes: the [`Runtime`] trait and its implementation on the Docker Engine API.
//!
//! The agent's shell calls it. Containers of others are never touched: everything here works on
//! containers that carry our labels, of our cluster. It decides nothing.

#[cfg(feature = "test-engine")]
pub mod conformance;
pub mod docker;
pub mod runtime_trait;
#[cfg(feature = "test-engine")]
pub mod test_engine;

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(any(test, fuzzing))]
pub use docker::fuzzing;
pub use docker::{Docker, DockerConfig};
pub use runtime_trait::{
    ContainerEvent, ContainerInfo, ContainerRequest, ContainerRun, Health, ImageInfo, LogSink,
    MountRequest, Release, Runtime, RuntimeError, RuntimeErrorKind, Started,
};
