//! Tells the core how much each volume held here uses. The core never asks, and decides whether
//! control hears of it.
//!
//! A volume is measured when it is first seen here as held (at the start, and after the job that ran its
//! container), then at growing intervals, up to [`INTERVAL_MAX`]. Measuring is never allowed to cost
//! more than a small part of one CPU, however many files there are.

use crate::run::Node;
use crate::shell::ShellInput;
use flocker_core::agent::Event;
use flocker_types::ids::VolumeId;
use flocker_types::volume::Role;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Time to the second measurement; doubled after each one. A new database fills its volume soon.
const INTERVAL_MIN: Duration = Duration::from_secs(2);
/// The longest interval.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// A measurement is followed by this many times its own duration without one of the same volume.
const REST: u32 = 50;

/// Wakes the watcher; clones are of the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsageBell(Arc<Notify>);

impl UsageBell {
    /// Volumes may have come to be held here.
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// A volume that is held here.
struct Watched {
    due: Instant,
    interval: Duration,
}

/// Measures until the loop ends.
pub(crate) async fn run(node: Node) {
    let mut watched = HashMap::new();
    loop {
        if look(&node, &mut watched).await.is_err() {
            return;
        }
        let next = watched.values().map(|one: &Watched| one.due).min();
        let latest = Instant::now() + INTERVAL_MAX;
        let next = next.map_or(latest, |next| next.min(latest));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = node.usage_bell.0.notified() => {}
        }
    }
}

/// The loop has ended, and so does everything.
struct LoopEnded;

/// Measures what is due.
async fn look(node: &Node, watched: &mut HashMap<VolumeId, Watched>) -> Result<(), LoopEnded> {
    let copies = match node.store.list().await {
        Ok(copies) => copies,
        Err(error) => {
            tracing::warn!(%error, "the volumes cannot be listed, so their use is not measured");
            // Not at once again, whatever was due.
            let later = Instant::now() + INTERVAL_MAX;
            watched.values_mut().for_each(|one| one.due = later);
            return Ok(());
        }
    };
    let held: Vec<VolumeId> = copies
        .iter()
        .filter(|copy| copy.role == Role::Holder)
        .map(|copy| copy.label.id)
        .collect();
    watched.retain(|volume, _| held.contains(volume));
    for volume in held {
        let begun = Instant::now();
        let one = watched.entry(volume).or_insert(Watched {
            due: begun,
            interval: INTERVAL_MIN,
        });
        if one.due > begun {
            continue;
        }
        let measured = node.store.used_bytes(volume).await;
        let ended = Instant::now();
        one.due = ended + one.interval.max((ended - begun) * REST);
        one.interval = (one.interval * 2).min(INTERVAL_MAX);
        match measured {
            // Also what was told before: the core may not have known the volume then.
            Ok(Some(used_bytes)) => {
                let event = ShellInput::Event(Event::VolumeUsed { volume, used_bytes });
                node.inputs.send(event).await.map_err(|_| LoopEnded)?;
            }
            Ok(None) => {}
            // It may have been given up or deleted a moment ago.
            Err(error) => tracing::debug!(%volume, %error, "its use cannot be measured"),
        }
    }
    Ok(())
}
