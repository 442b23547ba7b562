//! The connection to the engine: API version, time limits, and the errors that come of both.
//! Every other module here makes its calls through [`Engine::call`] or within [`limited`].

use super::errors::{engine_down, failed, kind_of};
use crate::runtime_trait::{RuntimeError, RuntimeErrorKind};
use bollard::errors::Error as ClientError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker as Client};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Limit of calls that only look something up.
pub(super) const QUERY_MS_MAX: u64 = 15_000;
/// Limit of calls that change something: the disk may be slow.
pub(super) const CHANGE_MS_MAX: u64 = 60_000;
/// The client library's own limit, beyond every one of ours.
const CLIENT_S_MAX: u64 = 24 * 3600;
/// The oldest API that we speak: that of Docker 20.10.
const API_OLDEST: (usize, usize) = (1, 41);

/// A connection to the engine; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    client: Client,
    socket: Arc<PathBuf>,
}

impl Engine {
    /// Finds the newest API version that both sides speak.
    pub(super) async fn connect(socket: &Path) -> Result<Self, RuntimeError> {
        let action = "connect to the container engine";
        let open = |version: &ClientVersion| {
            let path = socket.to_string_lossy();
            Client::connect_with_unix(&path, CLIENT_S_MAX, version)
                .map_err(|error| failed(action, kind_of(error, socket)))
        };
        // An engine answers a version that it does not know with an error, to the question for
        // its versions too: that one has to be asked without a version in its path.
        let unversioned = Self {
            client: open(API_DEFAULT_VERSION)?.with_request_modifier(without_version),
            socket: Arc::new(socket.to_owned()),
        };
        let answer = unversioned
            .call(action, QUERY_MS_MAX, unversioned.client.version())
            .await?;
        let version = choose_version(
            answer.api_version.as_deref(),
            answer.min_api_version.as_deref(),
        )
        .map_err(|reason| failed(action, RuntimeErrorKind::Refused(reason)))?;
        Ok(Self {
            client: open(&version)?,
            socket: unversioned.socket,
        })
    }

    /// The client library's handle, for use within [`call`](Self::call).
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The version agreed on.
    pub(super) fn api_version(&self) -> String {
        let version = self.client.client_version();
        format!("{}.{}", version.major_version, version.minor_version)
    }

    /// Awaits one answer of the engine, within a limit.
    pub(super) async fn call<T>(
        &self,
        action: &str,
        limit_ms: u64,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, RuntimeError> {
        limited(action, limit_ms, "the engine's answer", request)
            .await?
            .map_err(|error| self.error(action, error))
    }

    /// The error that the client library's error is to our callers.
    pub(super) fn error(&self, action: &str, error: ClientError) -> RuntimeError {
        failed(action, kind_of(error, &self.socket))
    }

    /// The engine went away in the middle of something.
    pub(super) fn gone(&self, action: &str, reason: &str) -> RuntimeError {
        failed(action, engine_down(&self.socket, reason))
    }
}

/// Awaits something for a limited time.
pub(super) async fn limited<T>(
    action: &str,
    limit_ms: u64,
    waiting_for: &str,
    what: impl Future<Output = T>,
) -> Result<T, RuntimeError> {
    tokio::time::timeout(Duration::from_millis(limit_ms), what)
        .await
        .map_err(|_| {
            failed(
                action,
                RuntimeErrorKind::TimedOut {
                    limit_ms,
                    waiting_for: waiting_for.to_owned(),
                },
            )
        })
}

/// Takes the version (`/v1.53`) out of a request's path.
fn without_version(mut request: BollardRequest) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let bare = parts
        .path_and_query
        .as_ref()
        .and_then(|path| path.as_str().strip_prefix("/v"))
        .and_then(|rest| rest.find('/').map(|slash| rest[slash..].to_owned()));
    if let Some(path) = bare.and_then(|bare| bare.parse().ok()) {
        parts.path_and_query = Some(path);
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The newest version that the engine and the client library both speak, or why there is none.
fn choose_version(newest: Option<&str>, oldest: Option<&str>) -> Result<ClientVersion, String> {
    let ours = (
        API_DEFAULT_VERSION.major_version,
        API_DEFAULT_VERSION.minor_version,
    );
    let Some(newest) = newest.and_then(parse_version) else {
        return Err(format!(
            "it does not say which API version it speaks (said {newest:?})"
        ));
    };
    if newest < API_OLDEST {
        return Err(format!(
            "its API version {}.{} is too old; Docker 20.10 (API 1.41) or newer is needed",
            newest.0, newest.1
        ));
    }
    if let Some(oldest) = oldest.and_then(parse_version)
        && oldest > ours
    {
        return Err(format!(
            "it speaks no API version older than {}.{}, and this flocker none newer than {}.{}; \
             a newer flocker is needed",
            oldest.0, oldest.1, ours.0, ours.1
        ));
    }
    let (major_version, minor_version) = newest.min(ours);
    Ok(ClientVersion {
        major_version,
        minor_version,
    })
}

fn parse_version(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// For the fuzzers' harness.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzed(text: &str) {
    let (newest, oldest) = text.split_once(' ').unwrap_or((text, "1.24"));
    let _ = choose_version(Some(newest), Some(oldest));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(newest: &str, oldest: &str) -> String {
        match choose_version(Some(newest), Some(oldest)) {
            Ok(version) => format!("{}.{}", version.major_version, version.minor_version),
            Err(reason) => reason,
        }
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        assert_eq!(chosen("1.41", "1.12"), "1.41");
        assert_eq!(chosen("1.47", "1.24"), "1.47");
        assert_eq!(chosen("1.99", "1.44"), "1.53");
    }

    #[test]
    fn engines_without_a_common_version_are_refused_with_a_reason() {
        assert!(chosen("1.40", "1.12").contains("too old"));
        assert!(chosen("2.3", "2.0").contains("newer flocker"));
        assert!(choose_version(None, None).is_err());
    }
}
