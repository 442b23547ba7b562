//! Orders are refused while the store's disk is nearly full.
//!
//! What goes on needs a little room: agents report, operations end. A control that cannot write at all
//! has to end, since what it knows would be ahead of the disk; so the last of the room is kept for
//! what was begun already. Services run on in either case.

use super::refusal::Refusal;
use axum::http::StatusCode;
use flocker_core::control::Request;
use flocker_types::api::ErrorCode;
use std::path::Path;

/// With less room than this nothing new is begun, in bytes.
const ROOM_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Whether this begins something.
fn needs_room(request: &Request) -> bool {
    match request {
        Request::Deploy(_)
        | Request::Move(_)
        | Request::Remove(_)
        | Request::RemoveVolume(_)
        | Request::RestoreVolume(_)
        | Request::AddToken(_)
        | Request::Join { .. } => true,
        Request::Plan(_)
        | Request::Status
        | Request::Backup
        | Request::Access(_)
        | Request::Operation(_)
        | Request::OperationEnd(_)
        | Request::Logs { .. } => false,
    }
}

/// Refuses what begins something when there is no room for it.
pub(super) fn check(state_dir: &Path, request: &Request) -> Result<(), Refusal> {
    if !needs_room(request) {
        return Ok(());
    }
    // A disk that does not even say is the store's business, not this one's.
    let Ok(stat) = rustix::fs::statvfs(state_dir) else {
        return Ok(());
    };
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free_bytes >= ROOM_BYTES_MIN {
        return Ok(());
    }
    let message = format!(
        "the disk of control's store is nearly full: {} has {} MiB left, and nothing new is begun \
         below {} MiB; what runs goes on",
        state_dir.display(),
        free_bytes >> 20,
        ROOM_BYTES_MIN >> 20
    );
    let status = StatusCode::INSUFFICIENT_STORAGE;
    Err(Refusal::new(status, ErrorCode::Unavailable, message)
        .hint("make room on that disk, then try again; nothing has to be restarted"))
}
