//! `flocker control backup` and `flocker control restore`.

use super::Global;
use super::recover::RecoverOptions;
use crate::failure::Failure;
use crate::node_file::{STATE_DIR_DEFAULT, StateDir};
use crate::output;
use crate::quantity::{count, moment};
use clap::Args;
use flocker_control::recovery::{ExistingStore, RecoveryBase};
use flocker_control::{AuthorityCopy, Backup as BackupFile, StateDirectory};
use flocker_core::cluster::State;
use flocker_net::pki::{Authority, read_text, write_secret};
use std::path::{Path, PathBuf};

/// A file of this name is standard output, or standard input.
const STANDARD: &str = "-";

/// Write everything that control knows into a file
///
/// Control goes on meanwhile; the file is of one moment. It holds environments of services with all
/// that is secret in them, in clear, and is readable for its owner only: write it to standard output and
/// encrypt it with the tool that you use for other backups. The cluster's authority is in it only if
/// you say so: whoever has its key can let anybody into the cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker control backup
  flocker control backup /backup/flocker.backup
  flocker control backup - | age -r age1... > flocker.backup.age
  sudo flocker control backup --with-authority - | gpg -e -r ops > flocker.backup.gpg")]
pub(crate) struct Backup {
    /// Where to write it, - for standard output [default: flocker-CLUSTER-TIME.backup here]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Put the authority's certificate and private key into it; on control's server only
    #[arg(long)]
    with_authority: bool,

    /// Where the node keeps everything, for --with-authority
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR_DEFAULT)]
    state_dir: PathBuf,
}

/// Put a backup in the place of control's store, corrected by what the nodes hold
///
/// Control must not run. The nodes may have gone on since the backup was taken: what they know
/// better counts, as with `flocker recover`. No container is stopped by it that is the right one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo systemctl stop flocker-control
  sudo flocker control restore /backup/flocker.backup --expect 3
  sudo flocker control restore old.backup --replace --without n3
  age -d -i key.txt flocker.backup.age | sudo flocker control restore - --expect 3 --yes")]
pub(crate) struct Restore {
    /// What `flocker control backup` has written, - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Although there is a store: it is set aside, not deleted
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    options: RecoverOptions,
}

impl Backup {
    /// Asks control for everything and writes it.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let client = global.open()?.client;
        let mut stream = client.stream_lines("/v1/backup").await?;
        let mut text = String::new();
        while let Some(line) = stream.next().await {
            text.push_str(&line?);
            text.push('\n');
        }
        let mut backup = BackupFile::decode(&text).map_err(|error| {
            Failure::because("what control sent is no whole backup", &error)
                .hint("try again; nothing was written")
        })?;
        if self.with_authority {
            backup.authority = Some(authority(&self.state_dir)?);
        }
        let text = backup
            .encode()
            .map_err(|error| Failure::because("the backup cannot be written", &error))?;
        let name = || {
            let taken = backup.header.taken.0 / 1_000;
            PathBuf::from(format!(
                "flocker-{}-{taken}.backup",
                backup.header.cluster.short()
            ))
        };
        let state = backup.state().map_err(|error| Failure::of(&error))?;
        let content = content(&backup, &state);
        let file = self.file.clone().unwrap_or_else(name);
        match file.as_os_str() == STANDARD {
            true => {
                output::data(&text)?;
                output::note(&content);
            }
            false => {
                write_secret(&file, &text)?;
                output::data(&format!("{}: {content}\n", file.display()))?;
            }
        }
        match self.with_authority {
            true => output::warning(
                "it holds the authority's private key: whoever reads it can let anybody into the \
                 cluster",
            ),
            false => output::hint(
                "the authority is not in it, and no node believes a control without it: keep \
                 ca.pem and ca.key of control's directory as well, or say --with-authority",
            ),
        }
        Ok(())
    }
}

fn content(backup: &BackupFile, state: &State) -> String {
    let authority = match backup.authority {
        Some(_) => "with the authority's key",
        None => "without the authority",
    };
    format!(
        "cluster {} at {}: {}, {}, {}, {}; {authority}",
        backup.header.cluster,
        moment(backup.header.taken),
        count(state.nodes.len(), "node"),
        count(state.services.len(), "service"),
        count(state.volumes.len(), "volume"),
        count(state.operations.len(), "operation"),
    )
}

fn authority(state_dir: &Path) -> Result<AuthorityCopy, Failure> {
    let files = StateDirectory::new(&StateDir::new(state_dir).control());
    let read = |path: PathBuf| {
        read_text(&path).map_err(|error| {
            Failure::of(&error).hint("the authority is on control's server, for root alone")
        })
    };
    Ok(AuthorityCopy {
        certificate: read(files.authority_certificate())?,
        key: read(files.authority_key())?,
        rotation: match files.rotation().exists() {
            true => Some(read(files.rotation())?),
            false => None,
        },
    })
}

impl Restore {
    /// Reads the backup, then makes the store again from it and the nodes.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let node = self.options.node()?;
        let shown = self.file.display();
        let text = match self.file.as_os_str() == STANDARD {
            true => std::io::read_to_string(std::io::stdin())
                .map_err(|error| Failure::because("standard input cannot be read", &error))?,
            false => read_text(&self.file)?,
        };
        let unusable = |error| Failure::because(format!("{shown} cannot be restored"), &error);
        let backup = BackupFile::decode(&text).map_err(unusable)?;
        let state = backup.state().map_err(unusable)?;
        output::note(&format!("{shown}: {}", content(&backup, &state)));
        let files = StateDirectory::new(&StateDir::new(&self.options.state_dir).control());
        if let Some(copy) = &backup.authority
            && !files.authority_key().exists()
        {
            let authority = Authority::from_pem(&copy.certificate, &copy.key)?;
            crate::context::make_private(files.path())?;
            authority.save(&files.authority_certificate(), &files.authority_key())?;
            if let Some(rotation) = &copy.rotation {
                write_secret(&files.rotation(), rotation)?;
            }
            output::note("the authority's files are put back");
        }
        let base = RecoveryBase::Backup {
            state: Box::new(state),
            existing: match self.replace {
                true => ExistingStore::SetAside,
                false => ExistingStore::Refuse,
            },
        };
        self.options.make(&node, base).await
    }
}
