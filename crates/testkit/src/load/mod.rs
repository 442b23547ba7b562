//! Programs that write numbered rows to a database without stopping, remember what the database
//! acknowledged, and afterwards check that all of that is there, once.
//!
//! Used by the demo, by end-to-end tests and by benchmarks, through the address that clients would
//! use. They go on through refused and broken connections: a row is tried until it is acknowledged,
//! and how long that took is what a client of the application would have waited.

mod filler;
mod postgres;
mod redis;
mod verify;
mod writers;

pub use filler::fill_postgres;
pub use postgres::{PostgresRows, PostgresSession};
pub use redis::RedisLists;
pub use verify::{Damage, Verification};
pub use writers::{ClientReport, Failure, NumberedRows, WriterSpec, Writers, WritersReport};

/// Reading back, or filling, did not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {reason}")]
pub struct LoadError {
    /// What was tried.
    pub doing: &'static str,
    /// Why it did not work, in the words of the database or of the connection.
    pub reason: String,
}

impl LoadError {
    fn of<E: std::error::Error>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self {
            doing,
            reason: chain(&error),
        }
    }

    fn failure(doing: &'static str) -> impl FnOnce(Failure) -> Self {
        move |failure| Self {
            doing,
            reason: failure.to_string(),
        }
    }
}

/// An error with its causes, in one line. The PostgreSQL library says only "db error" by itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
