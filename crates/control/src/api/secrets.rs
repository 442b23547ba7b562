//! Secret values on their way through the API: people get them sealed, or not at all.
//!
//! A plan goes to whoever asked for it and comes back to be executed, so its secrets are sealed: they can be
//! opened by this control alone, and only for the service and variable that they belong to. The plan has a
//! seal as a whole, too: what comes back is what was shown, or it is not executed.

use super::Api;
use super::refusal::Refusal;
use flocker_types::api::{ApiError, ClusterView, ErrorCode, OperationView};
use flocker_types::app::{Application, ServiceSpec};
use flocker_types::ids::ServiceId;
use flocker_types::plan::Plan;
use flocker_types::secret::SecretText;

/// Which value is where: one that was sealed for one variable cannot be given to another.
fn place(service: &ServiceId, name: &str) -> String {
    format!("{}/{} {name}", service.application, service.name)
}

/// Every secret of an application that is to be planned must be given.
pub(super) fn check_given(application: &Application) -> Result<(), Refusal> {
    for (service, spec) in &application.services {
        for (name, value) in spec.secrets() {
            if value.reveal().is_none() {
                return Err(Refusal::invalid(format!(
                    "the value of {name} of service {service} is not given"
                ))
                .hint("send it as {\"plain\": \"...\"}"));
            }
        }
    }
    Ok(())
}

/// Seals what a plan must not show, and the plan as a whole.
pub(super) fn seal(api: &Api, plan: &mut Plan) -> Result<(), Refusal> {
    for step in &mut plan.steps {
        for (name, value) in step.spec.secrets_mut() {
            let Some(text) = value.reveal() else { continue };
            let sealed = api.sealer.seal(text, &place(&step.service, name));
            *value = SecretText::Sealed(sealed.map_err(|error| failed(&error))?);
        }
    }
    plan.seal.clear();
    let whole = whole(plan)?;
    plan.seal = api
        .sealer
        .seal("", &whole)
        .map_err(|error| failed(&error))?;
    Ok(())
}

/// Opens what [`seal`] has sealed: a plan that it has not made, or that was changed, is refused. The core
/// carries a plan out as it is and checks only whether the cluster has changed since.
pub(super) fn open(api: &Api, plan: &mut Plan) -> Result<(), Refusal> {
    let seal = std::mem::take(&mut plan.seal);
    if api.sealer.open(&seal, &whole(plan)?).is_err() {
        return Err(Refusal::from(ApiError {
            code: ErrorCode::Conflict,
            message:
                "this is no plan that control has made: it was changed, or control was started \
                      again since"
                    .to_owned(),
            hint: Some("run the same command again for a new plan".to_owned()),
        }));
    }
    for step in &mut plan.steps {
        for (name, value) in step.spec.secrets_mut() {
            let SecretText::Sealed(sealed) = value else {
                continue;
            };
            let text = api.sealer.open(sealed, &place(&step.service, name));
            *value = SecretText::Plain(text.map_err(|error| failed(&error))?);
        }
    }
    Ok(())
}

/// A plan as text, to which its seal belongs.
fn whole(plan: &Plan) -> Result<String, Refusal> {
    serde_json::to_string(plan).map_err(|error| failed(&error))
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    Refusal::from(ApiError {
        code: ErrorCode::Internal,
        message: error.to_string(),
        hint: Some("try again".to_owned()),
    })
}

/// Takes secrets out of what everybody may see.
pub(super) fn hide(view: &mut ClusterView) {
    let services = view.services.iter_mut().map(|service| &mut service.spec);
    services.for_each(ServiceSpec::hide_secrets);
    view.operations.iter_mut().for_each(hide_operation);
}

/// As [`hide`], for one operation.
pub(super) fn hide_operation(view: &mut OperationView) {
    view.operation.spec.hide_secrets();
}
