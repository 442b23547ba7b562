//! The store's file while it is being made again: locked, and in the end replaced in one step. The old
//! one is set aside under another name, never deleted.

use super::RecoveryError;
use crate::config::StateDirectory;
use crate::shell::{Keeper, LoadError, wall_clock};
use flocker_core::cluster::State;
use flocker_store::{RedbStore, StateStore, StoreError, StoreTrouble};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A store that somebody has open is tried again for so long: a control that cannot start looks into
/// it every second or so. In milliseconds.
const IN_USE_MS_MAX: u64 = 5_000;
/// Between two attempts, in milliseconds.
const IN_USE_INTERVAL_MS: u64 = 100;

/// Control's store, locked.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Locks the file; none when it is damaged.
    lock: Option<Box<dyn StateStore>>,
    /// Whether it is worth keeping.
    had: Had,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Had {
    Nothing,
    Something,
}

impl Place {
    /// Locks the store and reads what it has.
    pub(super) async fn take(
        files: &StateDirectory,
    ) -> Result<(Self, Option<State>), RecoveryError> {
        let path = files.store();
        let place = |lock, had| Self {
            path: path.clone(),
            lock,
            had,
        };
        let store = match open(&path).await {
            Ok(store) => store,
            Err(error) if error.trouble == StoreTrouble::Damaged => {
                tracing::warn!(%error, "what is left of the store is not used");
                return Ok((place(None, Had::Something), None));
            }
            Err(error) => return Err(error.into()),
        };
        let (had, state) = match Keeper::read(&store) {
            Ok((_, state)) => (Had::Something, Some(state)),
            Err(LoadError::NoCluster) => (Had::Nothing, None),
            Err(LoadError::Store(error)) => return Err(error.into()),
            Err(error @ LoadError::Record { .. }) => {
                tracing::warn!(%error, "what is left of the store is not used");
                (Had::Something, None)
            }
        };
        Ok((place(Some(Box::new(store)), had), state))
    }

    /// Whether there is a store with something in it, if only damage.
    pub(super) fn has_something(&self) -> bool {
        self.had == Had::Something
    }

    /// Makes a new store beside the old one, then puts it in its place.
    pub(super) fn write(self, mut state: State) -> Result<Option<PathBuf>, RecoveryError> {
        let new = self.path.with_extension("redb.new");
        remove(&new)?;
        let store = RedbStore::open(&new)?;
        Keeper::of_empty(Box::new(store)).keep(state.take_changes())?;
        let kept = match self.had {
            Had::Nothing => None,
            Had::Something => {
                let name = format!("redb.before-{}", wall_clock().0 / 1_000);
                let kept = self.path.with_extension(name);
                remove(&kept)?;
                let link = std::fs::hard_link(&self.path, &kept);
                link.map_err(at("set aside", &self.path))?;
                Some(kept)
            }
        };
        std::fs::rename(&new, &self.path).map_err(at("put in place", &new))?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at("sync", directory))?;
        drop(self.lock);
        Ok(kept)
    }
}

async fn open(path: &Path) -> Result<RedbStore, StoreError> {
    let deadline = Instant::now() + Duration::from_millis(IN_USE_MS_MAX);
    loop {
        match RedbStore::open(path) {
            Err(error) if error.trouble == StoreTrouble::InUse && Instant::now() < deadline => {
                sleep(Duration::from_millis(IN_USE_INTERVAL_MS)).await;
            }
            other => return other,
        }
    }
}

fn remove(path: &Path) -> Result<(), RecoveryError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RecoveryError {
    let path = path.to_owned();
    move |source| RecoveryError::File {
        action,
        path,
        source,
    }
}
