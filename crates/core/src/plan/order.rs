//! The order of an application's services: dependencies first.

use flocker_types::app::Application;
use flocker_types::ids::ServiceName;
use std::collections::BTreeSet;

/// The services, each after those that it depends on; by name where nothing else decides. Members
/// of a circle (which the manifest check refuses) come last, by name.
pub(super) fn by_dependency(application: &Application) -> Vec<ServiceName> {
    let mut ordered: Vec<ServiceName> = Vec::new();
    let mut done: BTreeSet<&ServiceName> = BTreeSet::new();
    loop {
        let ready: Vec<&ServiceName> = application
            .services
            .iter()
            .filter(|(name, spec)| {
                !done.contains(name) && spec.depends_on.keys().all(|other| done.contains(other))
            })
            .map(|(name, _)| name)
            .collect();
        if ready.is_empty() {
            break;
        }
        done.extend(&ready);
        ordered.extend(ready.into_iter().cloned());
    }
    let circle = application
        .services
        .keys()
        .filter(|name| !done.contains(name))
        .cloned();
    ordered.extend(circle.collect::<Vec<_>>());
    ordered
}
