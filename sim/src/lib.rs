//! The simulator: whole clusters of the real cores in a world without real time, chance or threads.
//!
//! A run is a [`scenario::Scenario`], drawn from a seed by [`draw::draw`] and carried out by
//! [`run::run`]; the same scenario always gives the same trace. The binary `sim` sweeps seeds,
//! shrinks failing runs and shows that planted bugs are found. Everything else in here is the world.
//!
//! # What is real
//!
//! `Control`, one `Agent` per node and one `RouteTable` per node, exactly as they are shipped.
//!
//! # What is modelled, and after what
//!
//! | model | after | what it keeps to |
//! |---|---|---|
//! | `control_process.rs`, `store.rs` | `crates/control/src/shell` | rounds of up to 64 inputs, one transaction for all, guarded by revisions, commands only afterwards; a store that fails ends the process; killed while it waits, the transaction has happened or has not |
//! | `agent_process.rs` | `crates/agent/src/shell.rs`, `watch.rs` | one event at a time; ledger durable before commands; a full disk ends the process; the watcher asks the engine again before it tells of an end |
//! | `jobs.rs`, `copying.rs`, `reception.rs` | `crates/agent/src/jobs`, `streams` | step by step, one lock per volume; a step on the pool cut off by a kill has happened or has not; calls to the engine are carried out also when the caller has died or given up |
//! | `pool.rs` | `VolumeStore` (btrfs) | what returned `Ok` is durable; what containers write is durable only when synced or in a snapshot |
//! | `engine.rs` | `Runtime` (Docker) | calls about one container are served one after the other; the engine learns of an end a while after it |
//! | `proxy_process.rs`, `clients.rs` | `crates/net/src/proxy` | holds, tunnels, retries; routes are saved beside the work, so a crash may bring back older ones |
//! | `network.rs` | `crates/net/src/link` | an established link is one TCP stream: in order, once. What comes twice, late or out of order does so across reconnections, and because every new link says everything again. A cut holds packets back; healed in time they arrive; after five seconds of silence an end closes |
//!
//! # What is not modelled
//!
//! Long-lived client connections (each record is a connection of its own), TLS, the bytes of a volume
//! stream (it is a time during which it can break or be damaged), quotas, ZFS's own rules, two
//! controls on one store.

mod agent_process;
pub mod check;
mod clients;
mod clock;
mod control_process;
mod copying;
pub mod draw;
mod echo;
pub mod engine;
mod event;
mod faults;
mod healing;
mod jobs;
pub mod minimize;
#[cfg(feature = "mutants")]
pub mod mutants;
mod network;
mod node;
mod operator;
pub mod pool;
mod proxy_process;
mod reception;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod store;
pub mod sweep;
pub mod trace;
pub mod world;
