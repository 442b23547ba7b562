//! Stopping a container, as fast as it can end: signal its process directly, see it end, and take
//! the exit code from the engine. Falls back to the engine for what it cannot do directly.

use super::Docker;
use super::answer::Found;
use super::engine::{CHANGE_MS_MAX, limited};
use super::errors::failed;
use super::process::{ContainerProcess, signal_of};
use crate::runtime_trait::{ContainerRun, RuntimeError, RuntimeErrorKind};
use bollard::errors::Error as ClientError;
use bollard::query_parameters::{KillContainerOptionsBuilder, WaitContainerOptionsBuilder};
use flocker_types::ids::ServiceId;
use futures_util::StreamExt;

/// How long a container may take to end after SIGKILL: a process in an uninterruptible call ends
/// only when that call does.
const KILLED_MS_MAX: u64 = 30_000;
/// Docker's stop signal when neither the request nor the image names one.
const STOP_SIGNAL_DEFAULT: &str = "SIGTERM";
const SIGNAL_KILL: &str = "SIGKILL";

impl Docker {
    /// Signals, waits, kills; the exit code.
    pub(super) async fn stop_container(
        &self,
        service: &ServiceId,
        grace_ms: u64,
    ) -> Result<Option<i64>, RuntimeError> {
        let verb = "stop the container of";
        let action = format!("{verb} {service}");
        let Some(found) = self.find(service, verb).await? else {
            return Ok(None);
        };
        let ContainerRun::Running { pid, .. } = found.info.run else {
            return Ok(Some(found.exit_code));
        };
        let process = ContainerProcess::open(pid, &found.id);
        let signal = found.stop_signal.as_deref().unwrap_or(STOP_SIGNAL_DEFAULT);
        let mut ended = std::pin::pin!(self.wait_ended(&action, &found));
        self.send_signal(&action, &found, process.as_ref(), signal)
            .await?;
        if let Ok(code) = limited(&action, grace_ms, "the container to end", &mut ended).await {
            return code;
        }
        tracing::warn!(%service, grace_ms, "container did not end in time; killing it");
        self.send_signal(&action, &found, process.as_ref(), SIGNAL_KILL)
            .await?;
        limited(&action, KILLED_MS_MAX, "the killed container to end", ended).await?
    }

    /// Returns when the engine knows that the container has ended, with its exit code.
    async fn wait_ended(&self, action: &str, found: &Found) -> Result<Option<i64>, RuntimeError> {
        let options = WaitContainerOptionsBuilder::new()
            .condition("not-running")
            .build();
        let client = self.engine.client();
        let mut answers = client.wait_container(&found.id, Some(options));
        match answers.next().await {
            Some(Ok(answer)) => Ok(Some(answer.status_code)),
            // The client library makes an error of every exit code but 0.
            Some(Err(ClientError::DockerContainerWaitError { code, error })) => {
                if error.is_empty() {
                    return Ok(Some(code));
                }
                Err(failed(action, RuntimeErrorKind::Other(error)))
            }
            Some(Err(ClientError::DockerResponseServerError {
                status_code: 404, ..
            })) => Ok(None),
            Some(Err(error)) => Err(self.engine.error(action, error)),
            None => Err(self
                .engine
                .gone(action, "it closed the connection while the container ended")),
        }
    }

    async fn send_signal(
        &self,
        action: &str,
        found: &Found,
        process: Option<&ContainerProcess>,
        name: &str,
    ) -> Result<(), RuntimeError> {
        if let (Some(process), Some(signal)) = (process, signal_of(name)) {
            return process.signal(signal).map_err(|error| {
                failed(
                    action,
                    RuntimeErrorKind::Other(format!("sending {name}: {error}")),
                )
            });
        }
        let options = KillContainerOptionsBuilder::new().signal(name).build();
        let request = self
            .engine
            .client()
            .kill_container(&found.id, Some(options));
        match self.engine.call(action, CHANGE_MS_MAX, request).await {
            // It has ended meanwhile.
            Err(RuntimeError {
                kind: RuntimeErrorKind::NoContainer,
                ..
            }) => Ok(()),
            Err(RuntimeError {
                kind: RuntimeErrorKind::Refused(reason),
                ..
            }) if reason.contains("is not running") => Ok(()),
            other => other,
        }
    }
}
