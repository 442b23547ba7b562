//! A server that is no member of the cluster yet: added to a sandbox, joined by the command that a
//! person would use, and made new again.
//!
//! Called by the crash matrix. Knows nothing of control's records: a server that is made new is still a
//! member there.

use super::node;
use super::teardown;
use super::{Sandbox, SandboxError, SandboxGuard};
use crate::process::ProcessRecord;
use std::fs;
use std::io;
use std::path::Path;

/// Name of the record of `flocker join`.
const JOIN: &str = "join";

impl SandboxGuard {
    /// Adds a server with its engine, without Flocker on it.
    pub async fn add_server(&mut self) -> Result<(), SandboxError> {
        self.sandbox_mut().add_server().await
    }
}

impl Sandbox {
    async fn add_server(&mut self) -> Result<(), SandboxError> {
        self.record.nodes += 1;
        self.record.save()?;
        self.nodes = self.record.all_nodes().collect();
        match self.nodes.last() {
            Some(added) => self.make_node(added).await,
            None => Ok(()),
        }
    }

    /// Begins `flocker join` on a server; its output goes to the log of that name.
    pub fn start_join(&self, server: &str, token: &str) -> Result<ProcessRecord, SandboxError> {
        let server = self.node(server)?;
        let first = self.nodes[0].address.to_string();
        let words = self.enrol_words(server, &["join", &first, "--token", token])?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        node::start_on(server, JOIN, &words, &[])
    }

    /// Whether the server has become a node, as far as it knows itself.
    pub fn has_joined(&self, server: &str) -> Result<bool, SandboxError> {
        Ok(self
            .node(server)?
            .state_directory()
            .join("node.toml")
            .exists())
    }

    /// Boots a server that was powered off, without starting anything of Flocker's.
    pub async fn boot(&self, server: &str) -> Result<(), SandboxError> {
        let server = self.node(server)?;
        node::start_anchor(server).await?;
        node::import_pool(self.record(), server).await?;
        node::start_engine(server).await
    }

    /// Makes a server new: nothing of Flocker's is on it any more.
    pub async fn renew(&self, server: &str) -> Result<(), SandboxError> {
        let place = self.node(server)?;
        teardown::end_node(place).await?;
        let run = place.directory.join("run");
        let files = ["agent", "proxy", JOIN].map(|role| run.join(role));
        for file in files.into_iter().chain([place.pool_file()]) {
            gone(fs::remove_file(&file), &file)?;
        }
        let state = place.state_directory();
        gone(fs::remove_dir_all(&state), &state)?;
        self.boot(server).await
    }
}

fn gone(removed: io::Result<()>, path: &Path) -> Result<(), SandboxError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SandboxError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
