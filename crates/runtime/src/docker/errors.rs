//! Turns what the engine, its client library or a time limit says into [`RuntimeErrorKind`].
//! Used by every call; logs nothing.

use crate::runtime_trait::{RuntimeError, RuntimeErrorKind};
use bollard::errors::Error as ClientError;
use std::error::Error as _;
use std::path::Path;

/// An error of this action.
pub(super) fn failed(action: impl Into<String>, kind: RuntimeErrorKind) -> RuntimeError {
    RuntimeError {
        action: action.into(),
        kind,
    }
}

/// What an error of the client library means to our callers.
pub(super) fn kind_of(error: ClientError, socket: &Path) -> RuntimeErrorKind {
    match error {
        ClientError::DockerResponseServerError {
            status_code,
            message,
        } => kind_of_answer(status_code, message),
        ClientError::SocketNotFoundError(_) => engine_down(socket, "there is no such socket"),
        ClientError::HyperLegacyError { .. }
        | ClientError::HyperResponseError { .. }
        | ClientError::IOError { .. } => engine_down(socket, &with_causes(&error)),
        ClientError::DockerStreamError { error } => RuntimeErrorKind::Other(error),
        other => RuntimeErrorKind::Other(with_causes(&other)),
    }
}

/// The engine cannot be talked to.
pub(super) fn engine_down(socket: &Path, reason: &str) -> RuntimeErrorKind {
    RuntimeErrorKind::EngineDown {
        endpoint: socket.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// What an answer with an error status means. Statuses are the engine's contract; its texts only
/// separate the kinds of "not found".
fn kind_of_answer(status_code: u16, message: String) -> RuntimeErrorKind {
    let said = message.to_ascii_lowercase();
    match status_code {
        404 if said.contains("no such container") => RuntimeErrorKind::NoContainer,
        404 if said.contains("no such image") => RuntimeErrorKind::NoImage {
            image: message
                .split_once(": ")
                .map_or_else(String::new, |(_, image)| image.trim().to_owned()),
            reason: "the engine does not have it".to_owned(),
        },
        400..=499 => RuntimeErrorKind::Refused(with_hint(message)),
        _ => RuntimeErrorKind::Other(with_hint(message)),
    }
}

/// Adds what to do to messages that leave the reader alone.
fn with_hint(message: String) -> String {
    if message.contains("not a shared or slave mount") {
        return format!(
            "{message} (mounts made later could not reach the container; \
             run `mount --make-rshared` on that mount in the engine's mount namespace)"
        );
    }
    message
}

/// The error with its causes, each once.
fn with_causes(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> RuntimeErrorKind {
        kind_of(
            ClientError::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            },
            Path::new("/run/d.sock"),
        )
    }

    #[test]
    fn answers_become_kinds() {
        assert!(matches!(
            answer(404, "No such container: flocker--default--db"),
            RuntimeErrorKind::NoContainer
        ));
        match answer(404, "No such image: busybox:nope") {
            RuntimeErrorKind::NoImage { image, .. } => assert_eq!(image, "busybox:nope"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            answer(404, "network flocker-1 not found"),
            RuntimeErrorKind::Refused(_)
        ));
        assert!(matches!(
            answer(409, "Conflict. The container name is in use"),
            RuntimeErrorKind::Refused(_)
        ));
        assert!(matches!(
            answer(500, "Address already in use"),
            RuntimeErrorKind::Other(_)
        ));
    }

    #[test]
    fn a_private_mount_gets_a_hint() {
        let message = "path /p is mounted on / but it is not a shared or slave mount";
        assert!(answer(500, message).to_string().contains("--make-rshared"));
    }

    #[test]
    fn a_missing_socket_is_a_missing_engine() {
        let kind = kind_of(
            ClientError::SocketNotFoundError("/run/d.sock".to_owned()),
            Path::new("/run/d.sock"),
        );
        assert!(kind.retry_can_help());
        assert_eq!(
            kind.to_string(),
            "the container engine does not answer at /run/d.sock: there is no such socket"
        );
    }
}
