//! One lock for each volume, so that calls for the same volume follow one another and calls for
//! different volumes do not wait.
//!
//! Both stores use it. It keeps a lock only while somebody uses it.

use flocker_types::ids::VolumeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The locks of one pool.
#[derive(Debug, Default)]
pub(crate) struct VolumeLocks {
    locks: Mutex<HashMap<VolumeId, Lock>>,
}

/// The right to work on one volume, until dropped.
#[derive(Debug)]
pub(crate) struct VolumeGuard {
    _guard: OwnedMutexGuard<()>,
}

impl VolumeLocks {
    fn of(&self, volume: VolumeId) -> Lock {
        // The map stays whole even if a holder of its lock panicked.
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(volume).or_default())
    }

    /// Waits for the volume's turn. The caller's own deadline limits the wait.
    pub(crate) async fn lock(&self, volume: VolumeId) -> VolumeGuard {
        VolumeGuard {
            _guard: self.of(volume).lock_owned().await,
        }
    }

    /// The volume, if nobody works on it.
    pub(crate) fn try_lock(&self, volume: VolumeId) -> Option<VolumeGuard> {
        let guard = self.of(volume).try_lock_owned().ok()?;
        Some(VolumeGuard { _guard: guard })
    }
}
