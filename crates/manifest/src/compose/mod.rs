//! Compose files. (Being written.)
use crate::ParseOptions;
use crate::parsed::Drafts;
use crate::report::Report;
use crate::yaml::Node;
use flocker_types::app::Placement;
use flocker_types::ids::ApplicationName;
pub(crate) fn read_application(
    _root: Node,
    options: &ParseOptions,
    report: &mut Report<'_>,
) -> (Drafts, ApplicationName, Placement) {
    report.error(_root.span, "Compose files cannot be read yet");
    (
        Drafts::new(),
        options.application_name.clone().unwrap_or_default(),
        Placement::default(),
    )
}
