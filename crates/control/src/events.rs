//! The latest events, and telling those who listen that there are new ones.
//!
//! The shell's loop writes, `GET /v1/events` reads. Readers keep their own place and read in
//! pieces, so a slow one never costs more than its place: when it falls further behind than what is
//! kept here it is told how much it missed.

use flocker_types::api::EventRecord;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events that are kept for those who come back.
pub const EVENTS_KEPT_MAX: usize = 10_000;
/// Events handed to a reader at once.
const BATCH_MAX: usize = 256;

/// The latest events, oldest first.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<Arc<EventRecord>>>,
    newest: watch::Sender<u64>,
}

/// Somebody's place among the events.
#[derive(Debug)]
pub(crate) struct Reader {
    events: Arc<Events>,
    newest: watch::Receiver<u64>,
    /// Sequence of the last event that was read.
    after: u64,
}

/// What a reader gets.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    /// Events that were gone before they could be read.
    pub(crate) missed: u64,
    /// The next ones, oldest first; at least one.
    pub(crate) events: Vec<Arc<EventRecord>>,
}

impl Events {
    /// No events yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::new(VecDeque::new()),
            newest: watch::Sender::new(0),
        })
    }

    /// Keeps an event and wakes the readers. Its sequence has to be higher than every earlier one.
    pub(crate) fn publish(&self, event: EventRecord) {
        let sequence = event.sequence;
        let mut kept = self.lock();
        if kept.len() == EVENTS_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(event));
        drop(kept);
        self.newest.send_replace(sequence);
    }

    /// A reader of what comes after the event `after`; of new events only when that is none.
    pub(crate) fn read(self: &Arc<Self>, after: Option<u64>) -> Reader {
        let newest = self.newest.subscribe();
        let last = *newest.borrow();
        Reader {
            events: Arc::clone(self),
            newest,
            after: match after {
                // A number from before control was started again: numbers begin anew with it, so
                // everything since then is new to whoever asks.
                Some(after) if after > last => 0,
                Some(after) => after,
                None => last,
            },
        }
    }

    /// Pushes and pops leave the queue whole even if a thread that held the lock has panicked.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<EventRecord>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after(&self, after: u64) -> Option<Batch> {
        let kept = self.lock();
        let start = kept.partition_point(|event| event.sequence <= after);
        let events: Vec<_> = kept.iter().skip(start).take(BATCH_MAX).cloned().collect();
        let first = events.first()?;
        // Only when the oldest one kept is the next to be read can anything between be gone.
        let missed = if start == 0 {
            first.sequence.saturating_sub(after + 1)
        } else {
            0
        };
        Some(Batch { missed, events })
    }
}

impl Reader {
    /// The next events; waits until there are any.
    pub(crate) async fn next(&mut self) -> Batch {
        loop {
            self.newest.mark_unchanged();
            if let Some(batch) = self.events.after(self.after) {
                if let Some(last) = batch.events.last() {
                    self.after = last.sequence;
                }
                return batch;
            }
            self.newest
                .changed()
                .await
                .expect("the sender is in `events`, which this reader keeps");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_types::time::UnixMs;

    fn event(sequence: u64) -> EventRecord {
        EventRecord {
            sequence,
            at: UnixMs(sequence),
            message: format!("event {sequence}"),
            service: None,
            node: None,
            operation: None,
        }
    }

    fn with_events(count: u64) -> Arc<Events> {
        let events = Events::new();
        (1..=count).for_each(|sequence| events.publish(event(sequence)));
        events
    }

    async fn sequences(reader: &mut Reader, count: usize) -> Vec<u64> {
        let mut read = Vec::new();
        while read.len() < count {
            let batch = reader.next().await;
            assert_eq!(batch.missed, 0);
            read.extend(batch.events.iter().map(|event| event.sequence));
        }
        read
    }

    #[tokio::test]
    async fn a_reader_resumes_where_it_was_and_waits_for_more() {
        let events = with_events(1_000);
        let mut reader = events.read(Some(400));
        let all: Vec<u64> = (401..=1_000).collect();
        assert_eq!(sequences(&mut reader, 600).await, all);
        let waiting = tokio::spawn(async move { reader.next().await });
        events.publish(event(1_001));
        let batch = waiting.await.unwrap();
        assert_eq!(batch.events[0].sequence, 1_001);
    }

    #[tokio::test]
    async fn without_a_place_only_new_events_are_read() {
        let events = with_events(5);
        let mut reader = events.read(None);
        events.publish(event(6));
        assert_eq!(sequences(&mut reader, 1).await, [6]);
    }

    #[tokio::test]
    async fn a_reader_from_before_a_restart_gets_everything() {
        let events = with_events(3);
        assert_eq!(sequences(&mut events.read(Some(900)), 3).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_reader_that_is_too_late_learns_how_much_it_missed() {
        let kept = u64::try_from(EVENTS_KEPT_MAX).unwrap();
        let events = with_events(kept + 50);
        let batch = events.read(Some(10)).next().await;
        assert_eq!(batch.missed, 40);
        assert_eq!(batch.events[0].sequence, 51);
        let batch = events.read(Some(50)).next().await;
        assert_eq!((batch.missed, batch.events[0].sequence), (0, 51));
    }
}
