//! Secret values on their way through the API: people get them sealed, or not at all.
//!
//! A plan goes to whoever asked for it and comes back to be executed, so its secrets are sealed: they can be
//! opened by this control alone, and only for the service and variable that they belong to.

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

/// Seals what a plan must not show.
pub(super) fn seal(api: &Api, plan: &mut Plan) -> Result<(), Refusal> {
    for step in &mut plan.steps {
        for (name, value) in step.spec.secrets_mut() {
            let Some(text) = value.reveal() else { continue };
            let sealed = api.sealer.seal(text, &place(&step.service, name));
            *value = SecretText::Sealed(sealed.map_err(|error| {
                Refusal::from(ApiError {
                    code: ErrorCode::Internal,
                    message: error.to_string(),
                    hint: Some("try again".to_owned()),
                })
            })?);
        }
    }
    Ok(())
}

/// Opens what [`seal`] has sealed.
pub(super) fn open(api: &Api, plan: &mut Plan) -> Result<(), Refusal> {
    for step in &mut plan.steps {
        for (name, value) in step.spec.secrets_mut() {
            let opened = match value {
                SecretText::Plain(_) => continue,
                SecretText::Sealed(sealed) => {
                    api.sealer.open(sealed, &place(&step.service, name)).ok()
                }
                SecretText::Hidden => None,
            };
            let Some(text) = opened else {
                return Err(Refusal::from(ApiError {
                    code: ErrorCode::Conflict,
                    message: format!(
                        "{}: the plan is out of date: its value of {name} cannot be opened any more",
                        step.service
                    ),
                    hint: Some("run the same command again for a new plan".to_owned()),
                }));
            };
            *value = SecretText::Plain(text);
        }
    }
    Ok(())
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
