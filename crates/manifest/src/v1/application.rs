//! Reads `applications:`, the services of a v1 application file.

use super::{check_top_level, service};
use crate::common;
use crate::parsed::{Draft, Drafts};
use crate::read;
use crate::report::Report;
use crate::yaml::Node;

/// The services of the file; what is wrong is in the report.
pub(crate) fn read_application(root: &Node, report: &mut Report) -> Drafts {
    check_top_level(root, "applications", report);
    let mut drafts = Drafts::new();
    let Some(applications) = root.get("applications") else {
        report.error(
            root.span,
            "the key 'applications' is missing",
            "write 'applications:' and below it one key for each application",
        );
        return drafts;
    };
    let hint = "write one key for each application, with 'image:' below it; {} for none";
    let Some(entries) = read::mapping(applications, "'applications'", hint, report) else {
        return drafts;
    };
    for entry in entries {
        let name = common::service_name(entry, report);
        let mut draft = Draft::new(report.locate(entry.key_span));
        service::read(entry, name.as_ref(), &mut draft, report);
        if let Some(name) = name {
            drafts.insert(name, draft);
        }
    }
    drafts
}
