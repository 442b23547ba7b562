//! What Flocker says and hears over a network: identities and certificates, TLS between the parts,
//! the long-lived link of agent and proxy to control, HTTP to and from control's API, and the
//! proxy that clients of the services meet.
//!
//! The shells (control, agent, proxy) and the command line call it. It decides nothing: what to
//! connect to, whom to let in and where a route leads is handed to it.

pub mod address;
pub mod client;
pub mod door;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod lines;
pub mod link;
pub mod pki;
pub mod proxy;
pub mod renewal;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
pub mod serve;
pub mod tls;

#[cfg(test)]
mod testing;
