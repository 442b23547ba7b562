//! The keys of Compose files: those that are honoured, those that are ignored with a warning
//! because ignoring them does no harm, and those that are refused.
//!
//! The readers of the parts of a file ask here about the keys that they meet; what the values of
//! honoured keys mean is theirs.

mod table;

use crate::diagnostic::quoted;
use crate::report::Report;
use crate::suggest::nearest;
use crate::yaml::Entry;
use table::Key;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// It does what it says.
    Honoured,
    /// It does nothing, which does no harm; why, for the warning.
    Ignored(&'static str),
    /// It is an error; what to write instead.
    Refused(&'static str),
}

/// Where in a Compose file a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The file itself.
    TopLevel,
    /// A service.
    Service,
    /// `deploy:` of a service.
    Deploy,
    /// `restart_policy:` of `deploy:`.
    RestartPolicy,
    /// `resources:` of `deploy:`.
    Resources,
    /// `limits:` of `resources:`.
    Limits,
    /// `reservations:` of `resources:`.
    Reservations,
    /// `healthcheck:` of a service.
    Health,
    /// An item of `ports:` in long form.
    Port,
    /// An item of a service's `volumes:` in long form.
    Mount,
    /// `bind:` of such an item.
    Bind,
    /// A network of a service.
    ServiceNetwork,
    /// An entry of the top-level `volumes:`.
    Volume,
    /// An entry of the top-level `networks:`.
    Network,
    /// An entry of the top-level `configs:` or `secrets:`.
    File,
}

impl Place {
    fn keys(self) -> &'static [Key] {
        match self {
            Self::TopLevel => table::TOP_LEVEL,
            Self::Service => table::SERVICE,
            Self::Deploy => table::DEPLOY,
            Self::RestartPolicy => table::RESTART_POLICY,
            Self::Resources => table::RESOURCES,
            Self::Limits => table::LIMITS,
            Self::Reservations => table::RESERVATIONS,
            Self::Health => table::HEALTH,
            Self::Port => table::PORT,
            Self::Mount => table::MOUNT,
            Self::Bind => table::BIND,
            Self::ServiceNetwork => table::SERVICE_NETWORK,
            Self::Volume => table::VOLUME,
            Self::Network => table::NETWORK,
            Self::File => table::FILE,
        }
    }
}

/// Reports the keys of the file's top level that are not honoured.
pub(super) fn check_top_level(entries: &[Entry], report: &mut Report) {
    if let Some(entry) = entries.iter().find(|entry| &*entry.key == "x-flocker") {
        report.error(
            entry.key_span,
            "'x-flocker' has no meaning at the top level",
            "write it in a service, or below a volume's name in 'volumes:'",
        );
    }
    check(entries, Place::TopLevel, "a Compose file", report);
}

/// Reports the keys that are not honoured at a place. `inside` names it: "a port", "'deploy'" ...
pub(super) fn check(entries: &[Entry], place: Place, inside: &str, report: &mut Report) {
    let keys = place.keys();
    for entry in entries {
        let key = &*entry.key;
        match keys.iter().find(|(name, _)| *name == key) {
            Some((_, Treatment::Honoured)) => {}
            Some((_, Treatment::Ignored(_))) if entry.value.is_null() => {}
            Some((_, Treatment::Ignored(why))) => {
                report.warning(entry.key_span, format!("'{key}' is ignored"), *why);
            }
            Some((_, Treatment::Refused(hint))) => report.error(
                entry.key_span,
                format!("'{key}' is not supported yet"),
                *hint,
            ),
            None if report.is_full() => return,
            None => unknown(entry, keys, inside, report),
        }
    }
}

fn unknown(entry: &Entry, keys: &[Key], inside: &str, report: &mut Report) {
    let key = &*entry.key;
    let near = nearest(key, keys.iter().map(|(name, _)| *name));
    if key.starts_with("x-") && near != Some("x-flocker") {
        return;
    }
    let hint = match near {
        Some(near) => format!("did you mean '{near}'?"),
        None => {
            let honoured = keys
                .iter()
                .filter(|(_, treatment)| *treatment == Treatment::Honoured);
            let names: Vec<&str> = honoured.map(|(name, _)| *name).collect();
            format!("known keys are: {}", names.join(", "))
        }
    };
    let message = format!("{inside} has no key {}", quoted(key));
    report.error(entry.key_span, message, hint);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    const PLACES: [(Place, &str); 15] = [
        (Place::TopLevel, "The file"),
        (Place::Service, "A service"),
        (Place::Deploy, "`deploy` of a service"),
        (Place::RestartPolicy, "`deploy.restart_policy`"),
        (Place::Resources, "`deploy.resources`"),
        (Place::Limits, "`deploy.resources.limits`"),
        (Place::Reservations, "`deploy.resources.reservations`"),
        (Place::Health, "`healthcheck` of a service"),
        (Place::Port, "`ports` of a service, long form"),
        (Place::Mount, "`volumes` of a service, long form"),
        (Place::Bind, "`bind` of such a volume"),
        (Place::ServiceNetwork, "`networks` of a service"),
        (Place::Volume, "A top-level volume"),
        (Place::Network, "A top-level network"),
        (Place::File, "A top-level config or secret"),
    ];

    #[test]
    fn no_key_is_listed_twice() {
        for (place, name) in PLACES {
            let keys: BTreeSet<&str> = place.keys().iter().map(|(key, _)| *key).collect();
            assert_eq!(keys.len(), place.keys().len(), "{name}");
        }
    }

    /// What really holds goes to a file, so that a deliberate change is copied, not typed.
    #[test]
    fn the_documentation_says_what_holds() {
        let mut tables = String::new();
        for (place, name) in PLACES {
            write!(
                tables,
                "\n### {name}\n\n| key | what becomes of it |\n|---|---|\n"
            )
            .unwrap();
            for (key, treatment) in place.keys() {
                let what = match treatment {
                    Treatment::Honoured => "honoured".to_owned(),
                    Treatment::Ignored(why) => format!("ignored, with a warning: {why}"),
                    Treatment::Refused(hint) => format!("refused: {hint}"),
                };
                writeln!(tables, "| `{key}` | {what} |").unwrap();
            }
        }
        let actual = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/tmp/compose-keys.md");
        std::fs::create_dir_all(actual.parent().unwrap()).unwrap();
        std::fs::write(&actual, &tables).unwrap();
        let document =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose.md");
        let document = std::fs::read_to_string(document).unwrap();
        assert!(
            document.contains(&tables),
            "docs/compose.md does not have the tables of {}",
            actual.display()
        );
    }
}
