//! Control as a whole: a real store, the real core, real TLS on loopback, and agents and proxies
//! that only talk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod access;
mod cluster;
mod durability;
mod events;
mod fake;
mod full_disk;
mod joining;
mod latency;
mod links;
mod raw;
mod recovering;
mod requests;
mod rotation;
