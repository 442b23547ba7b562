//! The clients: each writes row 1, 2, 3 ... and goes to the next when the last was acknowledged.
//!
//! Called by [`super`]'s users; knows a database only by [`NumberedRows`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long one try may take before the client begins anew with another connection.
const TRY_LIMIT: Duration = Duration::from_secs(10);
/// Pause between tries, so that a refused connection is not asked for a thousand times a second.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How long a client may go on with its last row after it was told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Why a row was not acknowledged.
#[derive(Debug)]
pub enum Failure {
    /// The connection or the server went away, or was not ready; another try may work.
    Again(String),
    /// No other try will work: wrong password, no such table ...
    Never(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Again(reason) | Self::Never(reason) => f.write_str(reason),
        }
    }
}

/// A place for numbered rows of numbered clients.
pub trait NumberedRows: Send + Sync + 'static {
    /// A connection.
    type Session: Send;

    /// Connects.
    fn open(&self) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Writes a client's row and returns when it is acknowledged. Succeeds without writing when the
    /// row is there already: an earlier try got through and its acknowledgement did not.
    fn write(
        &self,
        session: &mut Self::Session,
        client: u32,
        number: u64,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// How much is written.
#[derive(Debug, Clone, Copy)]
pub struct WriterSpec {
    /// How many clients write at the same time.
    pub clients: u32,
    /// Least time from one row of a client to its next; zero for as fast as it goes.
    pub pace: Duration,
    /// When they stop by themselves.
    pub limit: Duration,
}

/// What one client did.
#[derive(Debug, Clone)]
pub struct ClientReport {
    /// Its number, from 1.
    pub client: u32,
    /// Rows 1 to this were acknowledged.
    pub acknowledged: u64,
    /// Longest time from a row's first try to its acknowledgement.
    pub longest_wait: Duration,
    /// How often it had to connect again.
    pub reconnects: u64,
    /// Why it ended early, if it did.
    pub failure: Option<String>,
}

/// What all of them did.
#[derive(Debug, Clone)]
pub struct WritersReport {
    /// Each.
    pub clients: Vec<ClientReport>,
    /// For how long they wrote.
    pub duration: Duration,
}

impl WritersReport {
    /// Rows that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.clients.iter().map(|client| client.acknowledged).sum()
    }

    /// The longest that any client waited for any row.
    pub fn longest_wait(&self) -> Duration {
        let waits = self.clients.iter().map(|client| client.longest_wait);
        waits.max().unwrap_or_default()
    }
}

/// What can be seen while the clients write.
#[derive(Debug, Default)]
struct Gauges {
    acknowledged: AtomicU64,
    longest_wait_us: AtomicU64,
}

/// Clients that write.
#[derive(Debug)]
pub struct Writers {
    tasks: JoinSet<ClientReport>,
    stop: CancellationToken,
    gauges: Arc<Gauges>,
    started: Instant,
}

impl Writers {
    /// Starts the clients.
    pub fn start<R: NumberedRows>(rows: R, spec: WriterSpec) -> Self {
        let rows = Arc::new(rows);
        let stop = CancellationToken::new();
        let gauges = Arc::new(Gauges::default());
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for client in 1..=spec.clients {
            let writer = Writer {
                rows: Arc::clone(&rows),
                pace: spec.pace,
                end: started + spec.limit,
                stop: stop.clone(),
                gauges: Arc::clone(&gauges),
                session: None,
                report: ClientReport {
                    client,
                    acknowledged: 0,
                    longest_wait: Duration::ZERO,
                    reconnects: 0,
                    failure: None,
                },
            };
            tasks.spawn(writer.run());
        }
        Self {
            tasks,
            stop,
            gauges,
            started,
        }
    }

    /// Rows acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.gauges.acknowledged.load(Ordering::Relaxed)
    }

    /// The longest wait for a row that was acknowledged since the last call: call it before and
    /// after a move to learn what clients felt of it.
    pub fn take_longest_wait(&self) -> Duration {
        Duration::from_micros(self.gauges.longest_wait_us.swap(0, Ordering::Relaxed))
    }

    /// Tells the clients to stop, and waits until each has its last row acknowledged or has given
    /// up on it.
    pub async fn stop(mut self) -> WritersReport {
        self.stop.cancel();
        let mut clients = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(report) => clients.push(report),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        clients.sort_by_key(|report| report.client);
        WritersReport {
            clients,
            duration: self.started.elapsed(),
        }
    }
}

/// One client.
struct Writer<R: NumberedRows> {
    rows: Arc<R>,
    pace: Duration,
    end: Instant,
    stop: CancellationToken,
    gauges: Arc<Gauges>,
    session: Option<R::Session>,
    report: ClientReport,
}

impl<R: NumberedRows> Writer<R> {
    async fn run(mut self) -> ClientReport {
        let mut tick = tokio::time::interval(self.pace.max(Duration::from_micros(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_told_to_stop() {
            if !self.pace.is_zero() {
                tick.tick().await;
            }
            let begun = Instant::now();
            if let Err(reason) = self.write_until_acknowledged().await {
                self.report.failure = reason;
                break;
            }
            self.count(begun.elapsed());
        }
        self.report
    }

    fn is_told_to_stop(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.end
    }

    fn count(&mut self, wait: Duration) {
        self.report.acknowledged += 1;
        self.report.longest_wait = self.report.longest_wait.max(wait);
        let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.gauges.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.gauges
            .longest_wait_us
            .fetch_max(wait_us, Ordering::Relaxed);
    }

    /// Tries the next row until it is acknowledged. Gives up with a reason when no try will work,
    /// without one when it has been told to stop for too long.
    async fn write_until_acknowledged(&mut self) -> Result<(), Option<String>> {
        let mut give_up = None;
        loop {
            let tried = tokio::time::timeout(TRY_LIMIT, self.try_once()).await;
            match tried {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Failure::Never(reason))) => return Err(Some(reason)),
                Ok(Err(Failure::Again(_))) | Err(_) => self.session = None,
            }
            if self.is_told_to_stop() {
                let since = give_up.get_or_insert_with(|| Instant::now() + STOP_LIMIT);
                if Instant::now() >= *since {
                    return Err(None);
                }
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    async fn try_once(&mut self) -> Result<(), Failure> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let session = self.rows.open().await?;
                self.report.reconnects += u64::from(self.report.acknowledged > 0);
                session
            }
        };
        let number = self.report.acknowledged + 1;
        self.rows
            .write(&mut session, self.report.client, number)
            .await?;
        self.session = Some(session);
        Ok(())
    }
}
