//! What the fuzzers do with this crate: a ledger that somebody may have damaged, and an agent's core that
//! starts from it.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

use crate::ledger_file::parse;
use flocker_core::agent::{Agent, Event, Start};
use flocker_types::ids::{BootId, ClusterId, NodeId};
use flocker_types::link::AgentHello;
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::{PoolUsage, StorageKind};
use std::net::Ipv4Addr;

/// A ledger. An agent that can read it starts from it, and goes on for a minute.
pub fn agent_files(bytes: &[u8]) {
    let Ok(ledger) = parse(bytes) else {
        return;
    };
    let json = serde_json::to_vec(&ledger).expect("a ledger has a JSON form");
    assert_eq!(parse(&json).expect("it can be read"), ledger);
    let boot = ledger.boot.unwrap_or(BootId(uuid::Uuid::nil()));
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let node = NodeId(boot.0);
    let hello = AgentHello {
        cluster: ClusterId(boot.0),
        node,
        boot,
        name: None,
        version: "2.0.0".to_owned(),
        stream_address: (address, 4524).into(),
        node_address: address,
        storage: StorageKind::Btrfs,
        pool: PoolUsage {
            size_bytes: 1 << 40,
            free_bytes: 1 << 39,
        },
        volumes: Vec::new(),
        services: Vec::new(),
    };
    let start = Start {
        node,
        boot,
        ledger,
        volumes: Vec::new(),
        containers: Vec::new(),
        hello,
        container_network: "10.213.0.0/29".parse().expect("a network"),
    };
    let now = |milliseconds| Now {
        monotonic: Monotonic(milliseconds),
        wall: UnixMs(milliseconds),
    };
    let (mut agent, _) = Agent::new(now(0), start);
    agent.step(now(1), Event::LinkUp);
    for second in 1..=60 {
        let output = agent.step(now(second * 1_000), Event::Tick);
        assert!(output.commands.is_empty(), "nobody has confirmed anything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("agent_files", agent_files);
    }
}
