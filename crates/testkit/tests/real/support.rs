//! What the tests share: small sandboxes, and a way into a node's network for a socket of our own.

use flocker_testkit::sandbox::{NodePlace, SandboxGuard, SandboxSpec};
use flocker_types::volume::StorageKind;
use std::fs::File;

/// A sandbox of the given size with a name of its own.
pub(crate) fn spec(nodes: u8) -> SandboxSpec {
    SandboxSpec {
        name: SandboxGuard::fresh_name(),
        nodes,
        storage: StorageKind::Btrfs,
        pool_bytes: 1 << 30,
    }
}

/// Runs something on a thread that is in the node's network. A socket made there stays there.
pub(crate) fn in_network_of<T: Send + 'static>(
    node: &NodePlace,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let namespace = File::open(node.namespace_file()).unwrap();
    let inside = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        run()
    };
    std::thread::spawn(inside).join().unwrap()
}
