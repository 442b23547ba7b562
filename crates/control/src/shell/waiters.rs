//! Who waits for which answer of the core.
//!
//! Only the loop uses it. It never waits itself: a reader of a log that does not keep up loses it.

use flocker_core::control::{RequestId, Response};
use flocker_types::api::{ApiError, ErrorCode, LogLine};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait at once, long polls and logs included.
pub(crate) const WAITERS_MAX: usize = 4_096;
/// Pieces of a log that wait for their reader.
pub(crate) const LOG_PIECES_MAX: usize = 256;

/// An answer of the core.
pub(crate) type Answer = Result<Response, ApiError>;

/// Some lines of a log.
#[derive(Debug, PartialEq)]
pub(crate) struct LogPiece {
    /// The lines, oldest first.
    pub(crate) lines: Vec<LogLine>,
    /// Whether they are the last. A channel that ends without such a piece was cut off.
    pub(crate) end: bool,
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// For one answer.
    Once(oneshot::Sender<Answer>),
    /// For a log's lines, piece by piece, until one is an error or the last.
    Log(mpsc::Sender<Result<LogPiece, ApiError>>),
}

impl Waiter {
    fn is_gone(&self) -> bool {
        match self {
            Self::Once(answer) => answer.is_closed(),
            Self::Log(pieces) => pieces.is_closed(),
        }
    }

    fn refuse(self, error: ApiError) {
        // Whoever waited may be gone, which is as well here.
        match self {
            Self::Once(answer) => drop(answer.send(Err(error))),
            Self::Log(pieces) => drop(pieces.try_send(Err(error))),
        }
    }
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    open: BTreeMap<RequestId, Waiter>,
}

impl Waiters {
    /// Takes a waiter in. False when there are too many; then it has been told so.
    pub(super) fn add(&mut self, id: RequestId, waiter: Waiter) -> bool {
        if self.open.len() >= WAITERS_MAX {
            waiter.refuse(ApiError {
                code: ErrorCode::Unavailable,
                message: format!("{WAITERS_MAX} requests wait for their answers already"),
                hint: Some("try again when some of them have ended".to_owned()),
            });
            return false;
        }
        let before = self.open.insert(id, waiter);
        assert!(before.is_none(), "request numbers are used once");
        true
    }

    /// Hands an answer over. The request's number, if the core should stop working on it.
    pub(super) fn reply(&mut self, id: RequestId, answer: Answer) -> Option<RequestId> {
        match (self.open.remove(&id)?, answer) {
            (Waiter::Log(pieces), Ok(Response::Log { lines, end })) => {
                let kept = pieces.try_send(Ok(LogPiece { lines, end })).is_ok();
                if !kept {
                    tracing::debug!(request = id.0, "the reader of a log is gone or too slow");
                }
                match (kept, end) {
                    (_, true) => None,
                    (false, false) => Some(id),
                    (true, false) => {
                        self.open.insert(id, Waiter::Log(pieces));
                        None
                    }
                }
            }
            (waiter @ Waiter::Log(_), Err(error)) => {
                waiter.refuse(error);
                None
            }
            (Waiter::Once(waiting), answer) => {
                drop(waiting.send(answer));
                None
            }
            (waiter @ Waiter::Log(_), Ok(other)) => {
                tracing::error!(
                    request = id.0,
                    ?other,
                    "a log was answered with something else"
                );
                waiter.refuse(ApiError {
                    code: ErrorCode::Internal,
                    message: "control answered with something that is no log".to_owned(),
                    hint: None,
                });
                None
            }
        }
    }

    /// Forgets those who do not wait any more, and says whose requests they were.
    pub(super) fn sweep(&mut self) -> Vec<RequestId> {
        let gone: Vec<_> = self
            .open
            .iter()
            .filter(|(_, waiter)| waiter.is_gone())
            .map(|(id, _)| *id)
            .collect();
        for id in &gone {
            self.open.remove(id);
        }
        gone
    }
}
