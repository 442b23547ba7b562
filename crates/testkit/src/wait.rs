//! Waits until something can be seen to be so, with a limit and a name for what is awaited.
//!
//! Called wherever the system offers no event (a socket that appears, a process that ends). Never
//! used to let time pass.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How often the condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was awaited did not come.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s in vain for {what}", limit.as_secs())]
pub struct WaitError {
    /// What was awaited.
    pub what: String,
    /// For how long.
    pub limit: Duration,
}

/// Looks until `look` yields something or the limit has passed. An error of `look` ends the wait.
pub async fn until<T, E, F, L>(what: &str, limit: Duration, mut look: F) -> Result<T, E>
where
    F: FnMut() -> L,
    L: Future<Output = Result<Option<T>, E>>,
    E: From<WaitError>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            return Err(WaitError {
                what: what.to_owned(),
                limit,
            }
            .into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_what_was_seen_or_names_what_was_not() {
        let mut looks = 0;
        let seen: Result<i32, WaitError> = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            let found = (looks == 3).then_some(looks);
            async move { Ok(found) }
        })
        .await;
        assert_eq!(seen.unwrap(), 3);
        let error = until("rain", Duration::ZERO, || async {
            Ok::<Option<()>, WaitError>(None)
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s in vain for rain");
    }
}
