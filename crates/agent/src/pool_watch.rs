//! Tells the core how full the pool is. The core never asks.

use crate::run::Node;
use crate::shell::ShellInput;
use flocker_core::agent::Event;
use std::time::Duration;
use tokio::time::interval;

/// How often the pool is measured.
const INTERVAL: Duration = Duration::from_secs(10);
/// A change smaller than this part of the pool is not worth a message.
const PART: u64 = 200;

/// Measures until the loop ends.
pub(crate) async fn run(node: Node) {
    let mut timer = interval(INTERVAL);
    let mut last: Option<u64> = None;
    loop {
        timer.tick().await;
        match node.store.pool_usage().await {
            Ok(usage) => {
                let moved = last
                    .is_none_or(|last| last.abs_diff(usage.free_bytes) > usage.size_bytes / PART);
                if moved {
                    last = Some(usage.free_bytes);
                    let event = ShellInput::Event(Event::Pool(usage));
                    if node.inputs.send(event).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the pool cannot be measured"),
        }
    }
}
