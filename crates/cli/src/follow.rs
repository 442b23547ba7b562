//! Waits for operations to end, and shows how far they are.
//!
//! `deploy`, `move` and `rm` use it. The operations do not need it: they go on when nobody looks, also
//! while control is away.

use crate::commands::Format;
use crate::failure::Failure;
use crate::output::live::{Live, Progress};
use crate::output::{self, Style, operation};
use flocker_net::client::{ApiClient, ClientError};
use flocker_types::api::{OperationView, Started};
use flocker_types::ids::OperationId;
use flocker_types::operation::OperationStatus;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two looks at an operation.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// For so long control may be away before the command gives up waiting.
const AWAY_LIMIT: Duration = Duration::from_secs(120);

/// Waits until all have ended and returns them in the same order.
pub(crate) async fn to_the_end(
    client: &ApiClient,
    ids: &[OperationId],
    progress: Progress,
) -> Result<Vec<OperationView>, Failure> {
    let mut live = Live::new(progress);
    let mut views: BTreeMap<OperationId, OperationView> = BTreeMap::new();
    let mut away_since: Option<Instant> = None;
    loop {
        let looked = look(client, ids, &mut views).await;
        match looked {
            Ok(()) => away_since = None,
            Err(error) if error.retry_can_help() => {
                let since = *away_since.get_or_insert_with(|| {
                    live.end();
                    output::note("control does not answer; waiting for it");
                    Instant::now()
                });
                if since.elapsed() > AWAY_LIMIT {
                    live.end();
                    return Err(gave_up(&error, ids));
                }
            }
            Err(error) => {
                live.end();
                return Err(error.into());
            }
        }
        live.update(ids.iter().filter_map(|id| views.get(id)));
        if ids.iter().all(|id| views.get(id).is_some_and(has_ended)) {
            live.end();
            return Ok(ids.iter().filter_map(|id| views.remove(id)).collect());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            _ = tokio::signal::ctrl_c() => {
                live.end();
                output::note("the operation goes on without this command");
                output::hint(&format!("look at it with: {}", show_commands(ids)));
                return Err(Failure::Shown);
            }
        }
    }
}

/// Asks for those that have not ended yet.
async fn look(
    client: &ApiClient,
    ids: &[OperationId],
    views: &mut BTreeMap<OperationId, OperationView>,
) -> Result<(), ClientError> {
    for id in ids {
        if views.get(id).is_some_and(has_ended) {
            continue;
        }
        let view: OperationView = client.get(&format!("/v1/operations/{id}")).await?;
        views.insert(*id, view);
    }
    Ok(())
}

fn has_ended(view: &OperationView) -> bool {
    matches!(
        view.operation.status,
        OperationStatus::Succeeded | OperationStatus::Failed { .. }
    )
}

fn gave_up(error: &ClientError, ids: &[OperationId]) -> Failure {
    let limit_s = AWAY_LIMIT.as_secs();
    Failure::because(format!("control did not answer for {limit_s} s"), error).hint(format!(
        "the operation goes on when control is back; look at it with: {}",
        show_commands(ids)
    ))
}

fn show_commands(ids: &[OperationId]) -> String {
    let commands: Vec<String> = ids
        .iter()
        .map(|id| format!("flocker operation show {id}"))
        .collect();
    commands.join("; ")
}

/// Where reports go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportTo {
    /// To standard output, as text.
    Output,
    /// To standard error, as text.
    Messages,
}

/// Reports on operations that have ended, and fails when one of them has.
pub(crate) fn report(views: &[OperationView], to: ReportTo) -> Result<(), Failure> {
    let style = match to {
        ReportTo::Output => Style::of_stdout(),
        ReportTo::Messages => Style::of_stderr(),
    };
    for view in views {
        let text = operation::report(view, style);
        match to {
            ReportTo::Output => output::data(&text)?,
            ReportTo::Messages => output::note(&text),
        }
    }
    check(views)
}

fn has_failed(view: &OperationView) -> bool {
    matches!(view.operation.status, OperationStatus::Failed { .. })
}

/// Those that did not do what they were for.
pub(crate) fn only_failed(views: Vec<OperationView>) -> Vec<OperationView> {
    views.into_iter().filter(has_failed).collect()
}

/// Fails when one of the operations has failed.
pub(crate) fn check(views: &[OperationView]) -> Result<(), Failure> {
    match views.iter().any(has_failed) {
        true => Err(Failure::Shown),
        false => Ok(()),
    }
}

/// Prints what was started, for a caller who does not wait.
pub(crate) fn detached(started: &Started, format: Format) -> Result<(), Failure> {
    if format.json {
        return output::json(started);
    }
    for id in &started.operations {
        output::data(&id.to_string())?;
        output::hint(&format!("see how far it is: flocker operation show {id}"));
    }
    Ok(())
}
