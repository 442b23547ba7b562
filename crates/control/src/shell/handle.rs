//! How the API and the links reach the loop.
//!
//! A handle is cheap to clone. Its calls wait for room in the loop's queue and for the answer, with
//! a limit; they decide nothing.

use super::waiters::{Answer, LOG_PIECES_MAX, LogPiece, Waiter};
use super::{Input, Outgoing, Who};
use crate::events::{Events, Reader};
use crate::shell::sessions::Connection;
use flocker_core::cluster::TokenRecord;
use flocker_core::control::{Request, RequestId, Response, Session};
use flocker_types::api::{ApiError, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A way to the loop.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    events: Arc<Events>,
    numbers: Arc<Numbers>,
}

/// The next number of each kind.
#[derive(Debug, Default)]
struct Numbers {
    request: AtomicU64,
    session: AtomicU64,
}

/// Pieces of a log as they come. An error is the last one.
pub(crate) type LogReader = mpsc::Receiver<Result<LogPiece, ApiError>>;

/// The loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("control is stopping")]
pub(crate) struct Stopping;

impl From<Stopping> for ApiError {
    fn from(stopping: Stopping) -> Self {
        Self {
            code: ErrorCode::Unavailable,
            message: stopping.to_string(),
            hint: Some("try again when control runs again".to_owned()),
        }
    }
}

impl Handle {
    pub(super) fn new(inputs: mpsc::Sender<Input>, events: Arc<Events>) -> Self {
        Self {
            inputs,
            events,
            numbers: Arc::default(),
        }
    }

    /// Asks the core and waits for its answer, `limit` at the longest.
    pub(crate) async fn ask(&self, user: &str, request: Request, limit: Duration) -> Answer {
        let (waiter, answer) = oneshot::channel();
        let asked = async {
            self.request(user, request, Waiter::Once(waiter)).await?;
            answer.await.map_err(|_| Stopping)?
        };
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(|_| Err(too_late(limit)))
    }

    /// Asks for a log. Its pieces come as they come.
    pub(crate) async fn logs(&self, user: &str, request: Request) -> Result<LogReader, ApiError> {
        let (waiter, pieces) = mpsc::channel(LOG_PIECES_MAX);
        self.request(user, request, Waiter::Log(waiter)).await?;
        Ok(pieces)
    }

    async fn request(&self, user: &str, request: Request, waiter: Waiter) -> Result<(), Stopping> {
        let input = Input::Request {
            id: RequestId(self.numbers.request.fetch_add(1, Ordering::Relaxed)),
            user: user.to_owned(),
            request,
            // From the kernel's random number generator.
            seed: uuid::Uuid::new_v4().as_u128(),
            waiter,
        };
        self.give(input).await
    }

    /// The record of a token, if there is one that has not been used.
    pub(crate) async fn token(&self, id: &str) -> Result<Option<TokenRecord>, Stopping> {
        let (answer, record) = oneshot::channel();
        let id = id.to_owned();
        self.give(Input::Token { id, answer }).await?;
        record.await.map_err(|_| Stopping)
    }

    /// Returns when the loop has come round to it.
    pub(crate) async fn answers(&self) -> Result<(), Stopping> {
        // No token has this id; that the question is answered is the answer.
        self.token("").await.map(drop)
    }

    /// Announces a connection. Its number, and the reason of its end when the loop closes it.
    pub(crate) async fn connect(
        &self,
        who: Who,
        outgoing: Outgoing,
    ) -> Result<(Session, oneshot::Receiver<String>), Stopping> {
        let session = Session(self.numbers.session.fetch_add(1, Ordering::Relaxed));
        let (close, closed) = oneshot::channel();
        let connection = Connection { outgoing, close };
        self.give(Input::Connected {
            session,
            who,
            connection,
        })
        .await?;
        Ok((session, closed))
    }

    /// Says that a connection ended.
    pub(crate) async fn lost(&self, session: Session) {
        // When the loop has ended nobody has to know.
        self.give(Input::Lost(session)).await.ok();
    }

    /// Events after `after`, or new ones only.
    pub(crate) fn events(&self, after: Option<u64>) -> Reader {
        self.events.read(after)
    }

    /// Hands something to the loop; waits while the loop's queue is full.
    pub(crate) async fn give(&self, input: Input) -> Result<(), Stopping> {
        self.inputs.send(input).await.map_err(|_| Stopping)
    }
}

fn too_late(limit: Duration) -> ApiError {
    ApiError {
        code: ErrorCode::Unavailable,
        message: format!("there was no answer within {} s", limit.as_secs()),
        hint: Some("what was begun goes on; look with `flocker status`, or ask again".to_owned()),
    }
}

/// The answer to a question must be the one that belongs to it.
pub(crate) fn unexpected(response: &Response) -> ApiError {
    tracing::error!(?response, "the core answered another question");
    ApiError {
        code: ErrorCode::Internal,
        message: "control answered another question than was asked".to_owned(),
        hint: Some("this is a mistake in flocker; please report it".to_owned()),
    }
}
