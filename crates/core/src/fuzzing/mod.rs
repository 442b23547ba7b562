//! What the fuzzers do with the cores: bytes become a history, and what must always hold is checked
//! after each of its steps.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

mod control;
mod honest;
mod input;
mod peer;
mod said;

/// Control with three nodes. What the first two say is true or a failure; the third says whatever it
/// likes. Control goes on, survives a restart from its records, and no volume suffers from a node that
/// does not hold it.
pub fn hostile_node(bytes: &[u8]) {
    control::run(input::Input::new(bytes));
}

/// An agent that is told, by control in any order and by other nodes, whatever they like. It goes on,
/// survives a restart from its ledger, and admits a stream only where control has granted one.
pub fn hostile_peer(bytes: &[u8]) {
    peer::run(input::Input::new(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("hostile_node", hostile_node);
        replay("hostile_peer", hostile_peer);
    }
}
