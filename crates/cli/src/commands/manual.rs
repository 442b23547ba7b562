//! `flocker manual`.

use super::Cli;
use crate::failure::Failure;
use crate::output;
use crate::quantity::count;
use clap::{Args, CommandFactory};
use std::fs;
use std::path::{Path, PathBuf};

/// Write manual pages, one for each command, for `man flocker-deploy` and the like
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo flocker manual /usr/local/share/man/man1")]
pub(crate) struct Manual {
    /// Where to; it is made if it is not there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Manual {
    /// Writes the pages.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let pages = write(&self.directory).map_err(|error| {
            let what = format!(
                "the pages cannot be written to {}",
                self.directory.display()
            );
            Failure::because(what, &error)
        })?;
        let place = self.directory.display();
        output::note(&format!("wrote {} to {place}", count(pages, "page")));
        Ok(())
    }
}

fn write(directory: &Path) -> std::io::Result<usize> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    let pages = fs::read_dir(directory)?.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("flocker") && name.ends_with(".1")
    });
    Ok(pages.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let directory = tempfile::tempdir().unwrap();
        let pages = write(directory.path()).unwrap();
        assert!(pages > Cli::command().get_subcommands().count());
        let page = fs::read_to_string(directory.path().join("flocker-volume-restore.1")).unwrap();
        assert!(page.starts_with(".ie"), "{page}");
        assert!(page.contains("volume"), "{page}");
    }
}
