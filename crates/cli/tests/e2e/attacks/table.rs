//! The table of attacks, and the page of the documentation that has it.

use std::fmt::Write;
use std::path::PathBuf;

/// Of the page.
const HEAD: &str = "# Attacks that were tried on a cluster that runs

Made by `crates/cli/tests/e2e/attacks/`, which fails when a cell changes; do not edit. To write it anew:
`FLOCKER_WRITE_ATTACKS=1 cargo nextest run -p flocker --test e2e attacks`.

A sandbox of three nodes with real engines and pools runs a Redis with a volume on n2. The attacker has the network, and
where the attack needs it a certificate: n3's, or that of a user. Meanwhile, over and over, each time with new connections: a
user asks control for the status, n1's agent asks n2's agent about the volume, n1's proxy opens a tunnel to the Redis at n2's,
and clients use the Redis at n2 and at n3. *All served* means that each of the five was served at least once while the
attack went on, none failed, and none waited for 10 s.

Attacks on single parts, with what they got, are in [security.md](security.md#attacks-that-were-tried).

| attack | listener | what it got | who belongs there, meanwhile |
|---|---|---|---|
";

/// Rows in the order in which they were tried.
#[derive(Default)]
pub(super) struct Table(Vec<String>);

impl Table {
    pub(super) fn add(&mut self, attack: &str, listener: &str, got: &str, saw: &str) {
        self.0
            .push(format!("| {attack} | {listener} | {got} | {saw} |"));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Fails when the page says something else than what was seen.
    pub(super) fn check(&self) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/attacks.md");
        let page = self.0.iter().fold(HEAD.to_owned(), |mut page, row| {
            writeln!(page, "{row}").unwrap();
            page
        });
        if std::env::var_os("FLOCKER_WRITE_ATTACKS").is_some() {
            std::fs::write(&path, page).unwrap();
            return;
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let differs: Vec<&str> = page.lines().filter(|row| !written.contains(*row)).collect();
        let gone = written.lines().filter(|row| !page.contains(*row));
        let gone: Vec<&str> = gone.collect();
        assert!(
            page == written,
            "docs/attacks.md says otherwise.\nseen now:\n{}\nwritten there:\n{}",
            differs.join("\n"),
            gone.join("\n")
        );
    }
}
