//! Why a request to control failed, in words that say what to do.
//!
//! The client makes these errors; the command line shows message, causes and hint.

use crate::tls::{LastWord, TlsError};
use flocker_types::api::{ApiError, ErrorCode};
use hyper::StatusCode;
use std::net::SocketAddr;

/// Most of an unexpected answer that a message shows, in characters.
const EXCERPT_CHARACTERS_MAX: usize = 200;

/// A request to control failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no connection.
    #[error("no connection to control")]
    Connect(#[from] TlsError),
    /// No answer in time. The request may still have been carried out.
    #[error("control at {control} did not answer {path} within {limit_ms} ms")]
    Timeout {
        /// Where.
        control: SocketAddr,
        /// What was asked.
        path: String,
        /// How long.
        limit_ms: u64,
    },
    /// The connection broke. The request may still have been carried out.
    #[error("the connection to control at {control} broke during {path}")]
    Broken {
        /// Where.
        control: SocketAddr,
        /// What was asked.
        path: String,
        /// What happened.
        source: hyper::Error,
    },
    /// Control says no, and why.
    #[error("{refusal}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What control says.
        refusal: ApiError,
    },
    /// Not an answer of control.
    #[error("{path} was answered with {status}: {excerpt}")]
    Unexpected {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// How the answer begins.
        excerpt: String,
    },
    /// The answer is of another version, or of another program.
    #[error("the answer to {path} was not understood")]
    NotUnderstood {
        /// What was asked.
        path: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The answer is too long.
    #[error("the answer to {path} has more than {bytes_max} bytes")]
    TooLong {
        /// What was asked.
        path: String,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The request cannot be written as JSON.
    #[error("the request to {path} cannot be written")]
    Unsendable {
        /// What was asked.
        path: String,
        /// What the writer said.
        source: serde_json::Error,
    },
    /// The path is not one.
    #[error("\"{path}\" cannot be requested")]
    BadPath {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        source: hyper::http::Error,
    },
}

impl ClientError {
    /// What to do about it, when that is known.
    pub fn hint(&self) -> Option<String> {
        let fixed = |hint: &str| Some(hint.to_owned());
        match self {
            Self::Connect(TlsError::Connect { peer, .. } | TlsError::Timeout { peer, .. }) => Some(
                format!("is `flocker control` running, and is {peer} its address?"),
            ),
            Self::Connect(error) => error.hint().map(str::to_owned),
            Self::Timeout { .. } | Self::Broken { .. } => {
                fixed("ask for the status first: the request may have been carried out")
            }
            Self::Refused { refusal, .. } => refusal.hint.clone(),
            Self::Unexpected { .. } | Self::NotUnderstood { .. } => {
                fixed("check that this program and control have the same version")
            }
            Self::TooLong { .. } | Self::Unsendable { .. } | Self::BadPath { .. } => None,
        }
    }

    /// Whether trying again, with nothing changed here, can help.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Connect(error) => error.retry_can_help(),
            Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Refused { refusal, .. } => refusal.code == ErrorCode::Unavailable,
            Self::Unexpected { status, .. } => status.is_server_error(),
            _ => false,
        }
    }

    pub(super) fn broken(
        control: SocketAddr,
        path: &str,
        source: hyper::Error,
        last_word: &LastWord,
    ) -> Self {
        match last_word.refusal(control) {
            Some(error) => Self::Connect(error),
            None => Self::Broken {
                control,
                path: path.to_owned(),
                source,
            },
        }
    }

    pub(super) fn from_refusal(path: &str, status: StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(refusal) => Self::Refused { status, refusal },
            Err(_) => Self::Unexpected {
                path: path.to_owned(),
                status,
                excerpt: String::from_utf8_lossy(body)
                    .chars()
                    .take(EXCERPT_CHARACTERS_MAX)
                    .collect(),
            },
        }
    }
}
