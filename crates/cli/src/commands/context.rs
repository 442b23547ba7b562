//! `flocker context`: which clusters the user knows.

use super::{Format, Global};
use crate::bundle::Bundle;
use crate::context::{self, Contexts};
use crate::failure::Failure;
use crate::output::table::Table;
use crate::output::{self, Style};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// List the clusters that you know, choose one, or take one in
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  flocker context ls\n  flocker context use production\n  flocker context import ann.flocker"
)]
pub(crate) struct ContextCommand {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List contexts; the current one has a star
    #[command(after_help = "Example:\n  flocker context ls")]
    Ls(Format),
    /// Make a context the current one
    #[command(after_help = "Example:\n  flocker context use production")]
    Use {
        /// Its name
        name: String,
    },
    /// Take in a context that an admin has made for you by `flocker user add`
    #[command(after_help = "Examples:
  flocker context import ann.flocker
  flocker context import ann.flocker --name production")]
    Import {
        /// The file
        file: PathBuf,

        /// What to call the context
        #[arg(long, value_name = "NAME", default_value = "default")]
        name: String,
    },
    /// Forget a context; the cluster itself is not touched
    #[command(after_help = "Example:\n  flocker context rm sandbox-old")]
    Rm {
        /// Its name
        name: String,
    },
}

impl ContextCommand {
    /// Shows or chooses.
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let contexts = Contexts::of_user()?;
        match &self.command {
            Action::Ls(format) => list(&contexts, global, *format),
            Action::Use { name } => {
                contexts.choose(name)?;
                output::note(&format!("commands go to \"{name}\" from now on"));
                Ok(())
            }
            Action::Import { file, name } => {
                contexts.check_free(name).map_err(|failure| {
                    failure.hint(format!(
                        "choose another name by --name, or: flocker context rm {name}"
                    ))
                })?;
                let bundle = Bundle::load(file)?;
                let config = bundle.config();
                let (issued, authority_pem) = bundle.into_certificate();
                contexts.save(name, &config, &issued, &authority_pem)?;
                output::note(&format!("the cluster is known as \"{name}\""));
                output::hint(&format!("delete the file: rm {}", file.display()));
                Ok(())
            }
            Action::Rm { name } => {
                contexts.config(name)?;
                context::forget(name)?;
                output::note(&format!("forgot \"{name}\""));
                Ok(())
            }
        }
    }
}

fn list(contexts: &Contexts, global: &Global, format: Format) -> Result<(), Failure> {
    let current = global.asked().or_else(|| contexts.current());
    let mut rows = Vec::new();
    for name in contexts.names() {
        let config = contexts.config(&name)?;
        let is_current = current.as_deref() == Some(&name);
        rows.push((name, is_current, config));
    }
    if format.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, current, config)| {
                serde_json::json!({
                    "name": name,
                    "current": current,
                    "control": config.control,
                    "cluster": config.cluster,
                })
            })
            .collect();
        return output::json(&rows);
    }
    let mut table = Table::new(&["", "NAME", "CONTROL", "CLUSTER"]);
    for (name, current, config) in rows {
        table.row(vec![
            if current { "*" } else { " " }.to_owned(),
            name,
            config.control.to_string(),
            config.cluster.to_string(),
        ]);
    }
    output::data(&table.render(Style::of_stdout()))
}
