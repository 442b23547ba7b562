//! Keeps a link to control for as long as a process lives.
//!
//! The loops of agent and proxy run on top of it. It decides only when to try again.

use super::client::{LinkError, connect};
use super::reader::chain;
use super::{Link, LinkLimits, LinkMessage};
use crate::pki::random_bytes;
use crate::tls::Credentials;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The first wait before trying again, in milliseconds: a restarted control is found at once.
pub const BACKOFF_MS_MIN: u64 = 50;
/// The longest wait before trying again, in milliseconds.
pub const BACKOFF_MS_MAX: u64 = 2_000;

/// Where to keep a link to, and as whom.
#[derive(Debug, Clone)]
pub struct LinkTarget {
    /// Where control answers.
    pub control: SocketAddr,
    /// What we show.
    pub credentials: Credentials,
    /// [`super::AGENT_PATH`] or [`super::PROXY_PATH`].
    pub path: &'static str,
    /// What the link allows.
    pub limits: LinkLimits,
}

/// Connects, hands the link to `session`, and when that returns connects again, until cancelled.
/// `session` should return when the link closes; when it returns for any other reason the link is
/// closed. Cancelling drops a session that is under way.
pub async fn run_with_reconnect<Out, In, Session, Running>(
    target: LinkTarget,
    cancel: CancellationToken,
    mut session: Session,
) where
    Out: LinkMessage,
    In: LinkMessage,
    Session: FnMut(Link<Out, In>) -> Running,
    Running: Future<Output = ()>,
{
    let mut backoff = Backoff::default();
    let keep = async {
        loop {
            match connect(
                target.control,
                &target.credentials,
                target.path,
                target.limits,
            )
            .await
            {
                Ok(link) => {
                    tracing::info!(control = %target.control, path = target.path, "linked");
                    let (handle, since) = (link.handle.clone(), Instant::now());
                    session(link).await;
                    handle.close();
                    let reason = handle.closed().await;
                    tracing::warn!(control = %target.control, %reason, "the link closed");
                    // A control that closes each link at once is not asked twenty times a second.
                    if since.elapsed() >= Duration::from_millis(BACKOFF_MS_MAX) {
                        backoff = Backoff::default();
                    }
                }
                Err(error) => report(&target, &error, &backoff),
            }
            sleep(backoff.next_wait()).await;
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = keep => {}
    }
}

/// The first failure of a row is news; the same again is not.
fn report(target: &LinkTarget, error: &LinkError, backoff: &Backoff) {
    let (control, reason) = (target.control, chain(error));
    if backoff.attempts == 0 || !error.retry_can_help() {
        tracing::warn!(%control, reason, "no link to control; trying again until there is one");
    } else {
        tracing::debug!(%control, reason, "still no link to control");
    }
}

#[derive(Debug, Default)]
struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Doubles with each attempt up to the limit. Half of it is random, so that the nodes of a
    /// cluster do not all come back in the same moment.
    fn next_wait(&mut self) -> Duration {
        let doubled = BACKOFF_MS_MIN.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        let whole = doubled.min(BACKOFF_MS_MAX);
        // Without randomness every node waits for the whole time, which is also right.
        let share = random_bytes::<1>().map_or(u8::MAX, |[byte]| byte);
        Duration::from_millis(whole / 2 + whole / 2 * u64::from(share) / u64::from(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_no_further() {
        let mut backoff = Backoff::default();
        for attempt in 0..40 {
            let wait = u64::try_from(backoff.next_wait().as_millis()).unwrap();
            let whole = (BACKOFF_MS_MIN << attempt.min(10)).min(BACKOFF_MS_MAX);
            assert!(
                (whole / 2..=whole).contains(&wait),
                "attempt {attempt}: {wait} ms"
            );
        }
    }
}
