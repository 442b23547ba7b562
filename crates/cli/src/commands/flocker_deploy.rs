//! `flocker-deploy DEPLOYMENT APPLICATION`, the command of Flocker 0.1 to 0.4, for scripts that call it.
//!
//! As then: the deployment comes first, nothing is asked, success prints nothing (but progress on a
//! terminal), a wrong call ends with 1. Unlike then: a deployment that fails ends with 1 as well.

use super::deploy::{execute, read_request};
use super::{Global, wait_for};
use crate::failure::Failure;
use crate::follow::{self, ReportTo};
use crate::manifests::ManifestArgs;
use crate::output;
use crate::output::live::Progress;
use flocker_types::plan::Plan;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The name by which it is called.
pub(crate) const NAME: &str = "flocker-deploy";
const USAGE: &str =
    "Usage: flocker-deploy DEPLOYMENT_CONFIGURATION_PATH APPLICATION_CONFIGURATION_PATH";
const HELP: &str = "
Deploys without asking; the same as `flocker deploy --yes DEPLOYMENT APPLICATION`. The cluster is that of
$FLOCKER_CONTEXT, else the current context.

Options:
      --help     Show this
      --version  Show the version";

/// Deploys.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    match arguments.as_slice() {
        [option] if option == "--help" || option == "-h" => {
            return output::data(&format!("{USAGE}\n{HELP}"));
        }
        [option] if option == "--version" => return output::data(env!("CARGO_PKG_VERSION")),
        _ => {}
    }
    let files: Vec<PathBuf> = arguments.into_iter().map(PathBuf::from).collect();
    let [deployment, application] = files.as_slice() else {
        output::note(USAGE);
        return Err(Failure::new(format!(
            "two files are needed, {} given",
            match files.len() {
                0 => "none was".to_owned(),
                1 => "one was".to_owned(),
                several => format!("{several} were"),
            }
        ))
        .hint("the deployment first, then the application"));
    };
    check_exists(deployment)?;
    check_exists(application)?;
    wait_for(deploy(&files))
}

fn check_exists(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    output::note(USAGE);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Err(Failure::new(format!(
        "No file exists at {}",
        absolute.display()
    )))
}

async fn deploy(files: &[PathBuf]) -> Result<(), Failure> {
    let given = ManifestArgs {
        files: files.to_vec(),
        ..ManifestArgs::default()
    };
    let request = read_request(&given)?;
    let client = Global::default().open()?.client;
    let plan: Plan = client.post("/v1/plan", &request).await?;
    if plan.steps.is_empty() {
        return Ok(());
    }
    // A script that called the old command knows it as silent.
    if !std::io::stderr().is_terminal() {
        let views = execute(&client, plan, Progress::Hidden).await?;
        return follow::report(&follow::only_failed(views), ReportTo::Messages);
    }
    let views = execute(&client, plan, Progress::Shown).await?;
    follow::report(&views, ReportTo::Messages)
}
