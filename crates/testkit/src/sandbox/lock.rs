//! One lock for all sandboxes of the machine, held while addresses are chosen and while what they
//! share is switched on or off.
//!
//! Called by `up` and `down`. Outside the sandboxes' directory, so that the last `down` can remove it.

use super::SandboxError;
use crate::wait;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

const PATH: &str = "/run/lock/flocker-sandbox.lock";
const LIMIT: Duration = Duration::from_secs(60);

/// Takes the lock; it is given back when the file is dropped.
pub(super) async fn take() -> Result<File, SandboxError> {
    let path = Path::new(PATH);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(SandboxError::file("open", path))?;
    let what = "another sandbox to come up or go down";
    wait::until(what, LIMIT, || async {
        match file.try_lock() {
            Ok(()) => Ok(Some(())),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(SandboxError::file("lock", path)(error)),
        }
    })
    .await?;
    Ok(file)
}
