//! `flocker deploy`: from manifests to running services.
//!
//! Shows the plan, asks, has exactly that plan executed, and reports what came of it.

use super::check;
use super::{Format, Global};
use crate::failure::Failure;
use crate::follow::{self, ReportTo};
use crate::manifests::{self, ManifestArgs};
use crate::output::live::Progress;
use crate::output::{self, Answer, Style, plan};
use clap::Args;
use flocker_manifest::combine;
use flocker_net::client::ApiClient;
use flocker_types::api::{DeployRequest, OperationView, PlanRequest, Started};
use flocker_types::plan::Plan;

/// Make the cluster run what manifests describe, where they say
///
/// Takes one or more application files (Compose, Flocker v1, Fig) and at most one deployment file, in any
/// order. Compose files given with -f are merged into one, each over those before it. Shows the plan and
/// asks before anything happens. Services whose node changes are moved with their data.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker deploy compose.yml
  flocker deploy deployment.yml application.yml
  flocker deploy -f compose.yml -f compose.production.yml --profile web
  flocker deploy compose.yml --plan
  flocker deploy compose.yml --yes --json")]
pub(crate) struct Deploy {
    #[command(flatten)]
    manifests: ManifestArgs,

    /// Do not ask
    #[arg(short, long, conflicts_with = "plan")]
    yes: bool,

    /// Show the plan and do nothing
    #[arg(long)]
    plan: bool,

    #[command(flatten)]
    format: Format,
}

impl Deploy {
    /// Plans, asks, deploys, reports.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let request = read_request(&self.manifests)?;
        let client = global.open()?.client;
        let plan: Plan = client.post("/v1/plan", &request).await?;
        if self.plan {
            return self.show_only(&plan);
        }
        if plan.steps.is_empty() {
            output::note(&plan::summary(&plan));
            return match self.format.json {
                true => output::json(&Vec::<OperationView>::new()),
                false => Ok(()),
            };
        }
        if !self.format.json || !self.yes {
            output::note(&plan::render(&plan, Style::of_stderr()));
        }
        if !self.yes {
            match output::confirm("\nDo this?") {
                Some(Answer::Yes) => {}
                Some(Answer::No) => {
                    output::note("nothing was changed");
                    return Err(Failure::Shown);
                }
                None => {
                    return Err(Failure::new(
                        "the plan needs a yes, and there is no terminal to ask at",
                    )
                    .hint("say --yes to go ahead, or --plan to see the plan only"));
                }
            }
        }
        let views = execute(&client, plan, Progress::Shown).await?;
        if self.format.json {
            output::json(&views)?;
            return follow::check(&views);
        }
        follow::report(&views, ReportTo::Output)
    }

    fn show_only(&self, plan: &Plan) -> Result<(), Failure> {
        match self.format.json {
            true => output::json(plan),
            false => output::data(&plan::render(plan, Style::of_stdout())),
        }
    }
}

/// What the files ask for. Says what is wrong with them, if anything is.
pub(super) fn read_request(given: &ManifestArgs) -> Result<PlanRequest, Failure> {
    let manifests = manifests::read(given)?;
    check::show(&manifests.warnings);
    if !manifests.errors.is_empty() {
        check::show(&manifests.errors);
        return Err(Failure::Shown);
    }
    if manifests.applications.is_empty() {
        return Err(
            Failure::new("a deployment file says where services run, not what they are")
                .hint("give the application file too: flocker deploy DEPLOYMENT APPLICATION"),
        );
    }
    match combine(&manifests.applications, manifests.deployments.first()) {
        Ok(combined) => {
            check::show(&combined.warnings);
            Ok(PlanRequest {
                application: combined.application,
                placement: combined.placement,
            })
        }
        Err(diagnostics) => {
            check::show(&diagnostics);
            Err(Failure::Shown)
        }
    }
}

/// Has the plan executed and waits for the end.
pub(super) async fn execute(
    client: &ApiClient,
    plan: Plan,
    progress: Progress,
) -> Result<Vec<OperationView>, Failure> {
    let request = DeployRequest { plan };
    let started: Started = client.post("/v1/deploy", &request).await?;
    follow::to_the_end(client, &started.operations, progress).await
}
