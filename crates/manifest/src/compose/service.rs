//! Reads one service of a Compose file.

use super::environment;
use super::extension::{self, ServiceExtension};
use super::files::{self, Kind};
use super::keys::{self, Place};
use super::networks::{self, Attached};
use super::project::Project;
use super::volumes::{self, Volumes};
use super::{Names, command, depends, health, limits, options, ports, resources};
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Entry, Meaning, Node};
use flocker_types::app::{Link, LinkTarget, RestartPolicy};
use flocker_types::secret::SecretText;
use std::collections::BTreeSet;

/// Everything that the reading of one service needs.
pub(super) struct Reader<'r> {
    /// The names of all services, as written.
    pub(super) names: &'r Names<'r>,
    /// The volumes of the top level.
    pub(super) volumes: &'r mut Volumes,
    /// The files, and what the caller knows.
    pub(super) project: &'r Project<'r>,
    /// The networks of the top level.
    pub(super) networks: &'r BTreeSet<String>,
    /// The configs and secrets of the top level.
    pub(super) files: &'r files::Declared,
    /// The service.
    pub(super) draft: &'r mut Draft,
}

/// What a service says beside what becomes its specification.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The node it wants to run on.
    pub(super) node: Option<String>,
    /// Where its `depends_on` is.
    pub(super) depends_on: Option<Span>,
    /// Variables that it marks as secret, until they are taken out of its environment.
    secrets: Vec<(String, Span)>,
    /// Its networks.
    pub(super) attached: Attached,
}

impl Reader<'_> {
    /// Reads the body into the draft.
    pub(super) fn read(&mut self, entry: &Entry, report: &mut Report) -> Said {
        let body = &entry.value;
        let what = format!("the service {}", quoted(&entry.key));
        let hint = "write at least 'image: repository:tag' below the name";
        let Some(entries) = read::mapping(body, &what, hint, report) else {
            return Said::default();
        };
        keys::check(entries, Place::Service, &what, report);
        self.image(body, entry.key_span, report);
        let mut said = Said::default();
        let mut sized = None;
        for Entry {
            key,
            key_span,
            value,
        } in entries
        {
            let (key, span) = (&**key, *key_span);
            let spec = &mut self.draft.spec;
            if value.is_null() && !matches!(key, "healthcheck" | "depends_on" | "x-flocker") {
                continue;
            }
            match key {
                "command" => spec.command = command::read(value, report),
                "ports" => ports::published(value, self.draft, report),
                "expose" => ports::exposed(value, self.draft, report),
                "links" => self.links(value, report),
                "volumes" => {
                    volumes::mounts(value, self.volumes, self.project, self.draft, report);
                }
                "depends_on" => {
                    depends::read(value, self.names, self.draft, report);
                    said.depends_on = Some(span);
                }
                "healthcheck" => spec.health_check = health::read(value, span, report),
                "stop_signal" => spec.stop_signal = stop_signal(value, report),
                "stop_grace_period" => {
                    if let Some(ms) = limits::duration_ms(value, "'stop_grace_period'", 0, report) {
                        spec.stop_grace_ms = ms;
                    }
                }
                "restart" => spec.restart = restart(value, report).unwrap_or_default(),
                "scale" => limits::one_replica(value, "'scale'", report),
                "pull_policy" => pull_policy(value, report),
                "configs" => self.files(value, Kind::Config, report),
                "secrets" => self.files(value, Kind::Secret, report),
                "x-flocker" => {
                    sized = self.extension(value, &mut said, report);
                }
                _ => {}
            }
        }
        let spec = &mut self.draft.spec;
        options::of_container(entries, self.project, &mut spec.container, report);
        resources::of_service(body, spec, report);
        spec.environment = environment::of_service(body, self.project, report);
        said.attached = networks::of_service(body, self.networks, report);
        self.check_targets(entry.key_span, report);
        if let Some((bytes, span)) = sized {
            self.size(bytes, span, report);
        }
        // After everything else: the variables may stand below.
        for (name, span) in std::mem::take(&mut said.secrets) {
            self.secret(name, span, report);
        }
        said
    }

    fn files(&mut self, node: &Node, kind: Kind, report: &mut Report) {
        let mounts = files::mounts(node, kind, self.files, report);
        self.draft.spec.container.files.extend(mounts);
    }

    /// Nothing may be mounted where something else is.
    fn check_targets(&self, at: Span, report: &mut Report) {
        let spec = &self.draft.spec;
        let options = &spec.container;
        let mut taken = BTreeSet::new();
        // Two volumes at one place were reported where they are written.
        taken.extend(spec.mounts.iter().map(|mount| mount.target.as_str()));
        let others = options
            .binds
            .iter()
            .map(|bind| bind.target.as_str())
            .chain(options.files.iter().map(|file| file.target.as_str()))
            .chain(options.tmpfs.keys().map(String::as_str));
        for target in others {
            if !taken.insert(target) {
                report.error(
                    at,
                    format!("this service mounts two things at {}", quoted(target)),
                    "mount each at a path of its own",
                );
            }
        }
    }

    fn image(&mut self, body: &Node, at: Span, report: &mut Report) {
        match body.get("image") {
            Some(node) => {
                if let Some(image) = common::image(node, Dialect::Compose, report) {
                    self.draft.spec.image = image;
                }
            }
            // Nothing is missing where an error says that it cannot be had.
            None if body.get("build").or_else(|| body.get("extends")).is_some() => {}
            None => report.error(
                at,
                "the key 'image' is missing",
                "write 'image: repository:tag'",
            ),
        }
    }

    /// Keeps a variable's value from everybody but the container.
    fn secret(&mut self, name: String, span: Span, report: &mut Report) {
        let spec = &mut self.draft.spec;
        match spec.environment.remove(&name) {
            Some(value) => {
                let value = SecretText::Plain(value);
                spec.secret_environment.insert(name, value);
            }
            // Named twice is as good as once.
            None if spec.secret_environment.contains_key(&name) => {}
            None => report.error(
                span,
                format!("there is no variable {} in 'environment'", quoted(&name)),
                format!("give it a value there, best by the caller's: {name}: ${{{name}}}"),
            ),
        }
    }

    fn links(&mut self, node: &Node, report: &mut Report) {
        let hint = "write '- service' or '- service:alias'";
        for item in read::list(node, "'links'", hint, report).unwrap_or_default() {
            let Some(text) = read::text(item, "a link", Dialect::Compose, report) else {
                continue;
            };
            let (to, alias) = text.split_once(':').unwrap_or((text, text));
            let target = self.names.known(to, item.span, report);
            if !common::check_alias(alias, item.span, report) {
                continue;
            }
            if alias != to && self.names.has(alias) {
                report.error(
                    item.span,
                    format!("{} is the name of another service", quoted(alias)),
                    "every service reaches the others by name: choose another alias",
                );
                continue;
            }
            let clashes = self.draft.spec.links.iter().any(|link| {
                link.alias == alias
                    && !matches!(&link.target, LinkTarget::Service(name) if name.as_str() == to)
            });
            if clashes {
                report.error(
                    item.span,
                    format!(
                        "the alias {} already stands for another service",
                        quoted(alias)
                    ),
                    "choose another alias",
                );
                continue;
            }
            let Some(target) = target else { continue };
            let link = Link {
                alias: alias.to_owned(),
                target: LinkTarget::Service(target),
            };
            if !self.draft.spec.links.contains(&link) {
                self.draft.spec.links.push(link);
            }
        }
    }

    fn extension(
        &mut self,
        node: &Node,
        said: &mut Said,
        report: &mut Report,
    ) -> Option<(u64, Span)> {
        let ServiceExtension {
            node,
            size,
            pause_budget_ms,
            secret_environment,
        } = extension::of_service(node, report);
        said.secrets = secret_environment;
        if let Some((node, span)) = node {
            self.draft.marks.node = Some(report.locate(span));
            said.node = Some(node);
        }
        if let Some(ms) = pause_budget_ms {
            self.draft.spec.pause_budget_ms = ms;
        }
        size
    }

    /// The size given at the service is that of its only volume.
    fn size(&mut self, bytes: u64, span: Span, report: &mut Report) {
        let problem = match self.draft.spec.mounts.as_mut_slice() {
            [mount] => match mount.size_bytes_max {
                Some(other) if other != bytes => "the volume itself says another size",
                _ => {
                    mount.size_bytes_max = Some(bytes);
                    return;
                }
            },
            [] => "this service has no volume",
            _ => "this service has several volumes",
        };
        report.error(
            span,
            format!("{problem}: whose 'size' is this?"),
            "write it below the volume's name: 'volumes: {name: {x-flocker: {size: 10G}}}'",
        );
    }
}

fn restart(node: &Node, report: &mut Report) -> Option<RestartPolicy> {
    if node.is_failed() {
        return None;
    }
    let scalar = node.as_scalar();
    let text = match scalar.map(crate::yaml::Scalar::meaning) {
        // `no` without quotes is meant, whatever YAML 1.1 makes of it.
        Some(Meaning::OldTruth(_) | Meaning::Text) => scalar.map_or("", |scalar| &*scalar.text),
        _ => "",
    };
    let retries = text.strip_prefix("on-failure:").map(str::parse::<u32>);
    match (text, retries) {
        ("no", _) => Some(RestartPolicy::Never),
        ("always" | "unless-stopped", _) => Some(RestartPolicy::Always),
        ("on-failure", _) | (_, Some(Ok(0))) => {
            Some(RestartPolicy::OnFailure { retries_max: None })
        }
        (_, Some(Ok(retries))) => Some(RestartPolicy::OnFailure {
            retries_max: Some(retries),
        }),
        _ => {
            report.error(
                node.span,
                format!("'restart' cannot be {}", node.describe()),
                "use one of: \"no\", always, unless-stopped, on-failure, on-failure:3",
            );
            None
        }
    }
}

/// Flocker pulls an image when a node does not have it.
fn pull_policy(node: &Node, report: &mut Report) {
    let known = ["missing", "if_not_present", "never"];
    let policy = super::values::text(node, "pull_policy", report);
    if policy.is_some_and(|policy| !known.contains(&policy.as_str())) {
        report.error(
            node.span,
            "an image is pulled only when a node does not have it",
            "remove 'pull_policy', and name the version that shall run in 'image'",
        );
    }
}

fn stop_signal(node: &Node, report: &mut Report) -> Option<String> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const NUMBER_MAX: u32 = 64;
    const REALTIME_MAX: u32 = 30;
    let text = read::text(node, "'stop_signal'", Dialect::Compose, report)?;
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let below = |digits: &str, most: u32| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        all_digits && digits.parse().is_ok_and(|number: u32| number <= most)
    };
    let is_known = NAMES.contains(&name)
        || matches!(name, "RTMIN" | "RTMAX")
        || name
            .strip_prefix("RTMIN+")
            .or_else(|| name.strip_prefix("RTMAX-"))
            .is_some_and(|offset| below(offset, REALTIME_MAX))
        || (below(text, NUMBER_MAX) && text != "0");
    if is_known {
        return Some(text.to_owned());
    }
    report.error(
        node.span,
        format!("{} is not a signal", quoted(text)),
        "write a name such as SIGTERM or SIGINT, in capital letters, or its number",
    );
    None
}
