//! What the demo says, and nothing else. Plain text, one fact a line.

use flocker_testkit::images::{Origin, Provided};
use flocker_testkit::load::{Verification, WritersReport};
use flocker_testkit::sandbox::{NodePlace, Sandbox, SandboxSpec};
use flocker_types::api::OperationView;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Prints a line; one that nobody reads any more is no reason to stop.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

/// A move as the report shows it.
pub(crate) struct Move {
    from: String,
    to: String,
    /// Bytes of volume data, all rounds together.
    bytes: u64,
    /// Whether the whole volume was sent, and not only what had changed.
    full: bool,
    rounds: usize,
    predicted_ms: Option<u64>,
    pause_ms: Option<u64>,
    longest_wait: Duration,
}

impl Move {
    /// From what the cluster recorded and what the clients felt.
    pub(crate) fn new(from: &str, to: &str, view: &OperationView, longest_wait: Duration) -> Self {
        let operation = &view.operation;
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            bytes: operation.rounds.iter().map(|round| round.bytes).sum(),
            full: operation.rounds.iter().any(|round| round.full),
            rounds: operation.rounds.len(),
            predicted_ms: operation.predicted.map(|prediction| prediction.pause_ms()),
            pause_ms: operation.pause_ms,
            longest_wait,
        }
    }
}

/// What is about to be seen.
pub(crate) fn introduce(spec: &SandboxSpec) {
    say("Flocker: a database that moves while its clients write.\n");
    say(&format!(
        "{} servers on this machine: each a network namespace with its own address, Docker engine \
         and {} pool ...",
        spec.nodes, spec.storage
    ));
}

/// The nodes that came up.
pub(crate) fn nodes(nodes: &[NodePlace], took: Duration) {
    for node in nodes {
        say(&format!("  {}  {}", node.name, node.address));
    }
    say(&format!("  a cluster after {}\n", seconds(took)));
}

/// Where the images came from.
pub(crate) fn images(images: &[Provided]) {
    for provided in images {
        let origin = match provided.origin {
            Origin::Pulled => "pulled from its public registry",
            Origin::Built => "built from this distribution's packages",
        };
        let (name, mib) = (provided.image.name(), provided.bytes / MIB);
        say(&format!("  image {name:<12} {mib:>4} MiB, {origin}"));
    }
}

/// The shop is open.
pub(crate) fn deployed(page: &str, database_bytes: u64) {
    say("\nDeployed examples/shop: PostgreSQL on n1, Redis on n2, a web page on n3.");
    say(&format!("  its page, asked at n2:  {page}"));
    say(&format!(
        "  its database:           {} MiB",
        database_bytes / MIB
    ));
}

/// Heads the table.
pub(crate) fn moves_begin(clients: u32, address: Ipv4Addr) {
    say(&format!(
        "\n{clients} clients write to {address}:5432 without a break while PostgreSQL moves:\n"
    ));
    say("  move            copied      rounds   pause, predicted   pause   longest client wait");
}

/// A line of the table.
pub(crate) fn moved(done: &Move) {
    let copied = match done.bytes {
        bytes if bytes >= 10 * MIB => format!("{} MiB", bytes / MIB),
        bytes => format!("{} KiB", bytes / 1024),
    };
    let what = if done.full { "all" } else { "delta" };
    let ms = |value: Option<u64>| value.map_or("?".to_owned(), |value| format!("{value} ms"));
    say(&format!(
        "  {} -> {}   {copied:>9} {what:<5}  {:>4}   {:>16}  {:>7}   {:>19}",
        done.from,
        done.to,
        done.rounds,
        ms(done.predicted_ms),
        ms(done.pause_ms),
        format!("{} ms", done.longest_wait.as_millis()),
    ));
}

/// What reading everything back showed.
pub(crate) fn verified(moves: &[Move], written: &WritersReport, seen: &Verification) {
    let rows = written.acknowledged();
    say(&format!(
        "\n{rows} rows were acknowledged in {}, {} moves among them.",
        seconds(written.duration),
        moves.len()
    ));
    if seen.is_whole() {
        say("Every one of them is there, once. No client was refused an answer for good.");
        return;
    }
    say(&format!("{} rows are not as they must be:", seen.damaged));
    for damage in &seen.damage {
        say(&format!("  {damage}"));
    }
}

/// How to go on.
pub(crate) fn look_around(sandbox: &Sandbox, flocker: &Path, kept: bool) {
    let name = &sandbox.record().name;
    let context = sandbox.record().context();
    if !kept {
        say(
            "\nTo look around yourself: make demo, then  flocker sandbox up  or  flocker-demo --keep",
        );
        return;
    }
    let flocker = flocker.display();
    say("\nThe sandbox stays. Try:");
    say(&format!("  sudo {flocker} --context {context} status"));
    say(&format!(
        "  sudo {flocker} --context {context} move shop/postgres n2"
    ));
    if let Some(node) = sandbox.nodes().last() {
        say(&format!("  curl http://{}:8080/", node.address));
    }
    say(&format!("  sudo {flocker} sandbox shell n1 --name {name}"));
    say(&format!("  sudo {flocker} sandbox down {name}"));
}

/// Nothing is left.
pub(crate) fn taken_down(took: Duration) {
    say(&format!(
        "The sandbox is gone again. All of it took {}.",
        seconds(took)
    ));
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
