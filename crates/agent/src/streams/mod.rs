//! Volumes and images between nodes: the listener that receives, and the connections that send.
//!
//! Every connection is mutual TLS between nodes of one cluster. Whether a volume may be received is
//! the core's decision; whether bytes are whole is the storage crate's frames'.

mod incoming;
mod outgoing;

pub(crate) use incoming::{listen, serve};
pub(crate) use outgoing::{Transfer, fetch_image};

use flocker_storage::stream::StreamError;
use flocker_types::task::Failure;

/// A stream's failure, for control.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn stream_failure(error: StreamError) -> Failure {
    let retry = crate::jobs::retry(|| error.retry_may_help());
    Failure {
        message: crate::jobs::chain(&error),
        retry,
    }
}
