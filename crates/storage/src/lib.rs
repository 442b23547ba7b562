//! Where a node keeps volumes: the [`VolumeStore`] trait, its two implementations (btrfs and ZFS),
//! and the frames in which a volume stream crosses the network.
//!
//! The agent's shell calls it. It drives the filesystems' own snapshots and send streams and never
//! copies files itself. It decides nothing: epochs are compared, but who holds a volume is
//! control's decision, carried here in labels.

pub mod btrfs;
mod command;
#[cfg(any(test, feature = "test-pools"))]
pub mod conformance;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image;
mod label_file;
pub mod pool;
mod proved_reader;
mod receive_process;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
pub mod stream;
mod survey;
#[cfg(any(test, feature = "test-pools"))]
pub mod test_pools;
mod volume_locks;
pub mod volume_store;
pub mod zfs;

pub use btrfs::BtrfsStore;
pub use pool::{Pool, PoolSpec};
pub use survey::{PoolProblem, PoolSurvey, survey};

pub use volume_store::{SendStream, StorageError, StorageErrorKind, StorageOperation, VolumeStore};
pub use zfs::ZfsStore;
