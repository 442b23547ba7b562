//! Runs `btrfs receive` on a volume stream, confined to the copy's snapshot directory.
//!
//! Only the btrfs store calls it. The stream comes from another machine, so the process is started in
//! a root directory of its own (`-C`): whatever paths the stream names, it reaches this volume's
//! snapshots and nothing else. Whether they are what they should be is checked by the caller.

use crate::receive_process::{self, Stream};
use crate::volume_store::StorageErrorKind;
use std::path::Path;

/// What `btrfs receive` says of a stream that is at fault.
pub(crate) const DAMAGED: [&str; 7] = [
    "crc32 mismatch",
    "invalid",
    "unexpected",
    "short read",
    "truncated",
    "not a send stream",
    "stream version",
];

/// Receives the whole stream into `directory`. When this returns, the process has ended.
pub(super) async fn run(directory: &Path, stream: Stream) -> Result<(), StorageErrorKind> {
    let arguments = [
        "-q".as_ref(),
        "receive".as_ref(),
        "-C".as_ref(),
        directory.as_os_str(),
    ];
    receive_process::run("btrfs", &arguments, stream, &DAMAGED).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_output_is_told_apart() {
        let kind = |stderr| receive_process::explain("btrfs receive -C /p", stderr, &DAMAGED);
        assert!(matches!(
            kind("ERROR: writing to a failed: No space left on device\n"),
            StorageErrorKind::NoSpace(_)
        ));
        assert!(matches!(
            kind("ERROR: crc32 mismatch in command\n"),
            StorageErrorKind::BadStream(_)
        ));
        assert!(matches!(
            kind("ERROR: cannot find parent subvolume\n"),
            StorageErrorKind::Command { .. }
        ));
    }
}
