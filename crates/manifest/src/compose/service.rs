//! Reads one service of a Compose file.

use super::extension::{self, ServiceExtension};
use super::interpolate::Variables;
use super::keys::{self, Place};
use super::volumes::{self, Volumes};
use super::{command, depends, health, known_service, limits, ports};
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Data, Entry, Meaning, Node};
use flocker_types::app::{Link, LinkTarget, RestartPolicy};
use flocker_types::secret::SecretText;

/// Everything that the reading of one service needs.
pub(super) struct Reader<'r> {
    /// The names of all services, as written.
    pub(super) names: &'r [&'r str],
    /// The volumes of the top level.
    pub(super) volumes: &'r mut Volumes,
    /// Values of variables, for `environment: [NAME]`.
    pub(super) variables: &'r Variables,
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
}

impl Reader<'_> {
    /// Reads the body into the draft.
    pub(super) fn read(&mut self, entry: &Entry, report: &mut Report<'_>) -> Said {
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
            match key {
                "command" => spec.command = command::read(value, report),
                "environment" => self.environment(value, report),
                "ports" => ports::published(value, self.draft, report),
                "expose" => ports::exposed(value, self.draft, report),
                "links" => self.links(value, report),
                "volumes" => volumes::mounts(value, self.volumes, self.draft, report),
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
                "cpu_shares" => {
                    spec.cpu_shares = common::cpu_shares(value, Dialect::Compose, report);
                }
                "scale" => limits::one_replica(value, "'scale'", report),
                "x-flocker" => {
                    sized = self.extension(value, &mut said, report);
                }
                _ => {}
            }
        }
        self.draft.spec.memory_limit_bytes = limits::memory(body, report);
        if let Some((bytes, span)) = sized {
            self.size(bytes, span, report);
        }
        // After everything else: the variables may stand below.
        for (name, span) in std::mem::take(&mut said.secrets) {
            self.secret(name, span, report);
        }
        said
    }

    fn image(&mut self, body: &Node, at: Span, report: &mut Report<'_>) {
        match body.get("image") {
            Some(node) => {
                if let Some(image) = common::image(node, Dialect::Compose, report) {
                    self.draft.spec.image = image;
                }
            }
            None if body.get("build").is_some() => {}
            None => report.error(
                at,
                "the key 'image' is missing",
                "write 'image: repository:tag'",
            ),
        }
    }

    fn environment(&mut self, node: &Node, report: &mut Report<'_>) {
        match &node.data {
            Data::Sequence(items) => {
                for item in items {
                    let text = read::text(item, "a variable", Dialect::Compose, report);
                    let Some(text) = text else { continue };
                    match text.split_once('=') {
                        Some((name, value)) => self.variable(name, value, item.span, report),
                        None => self.variable_of_caller(text, item.span, report),
                    }
                }
            }
            Data::Mapping(entries) => {
                for entry in entries {
                    if entry.value.is_null() {
                        self.variable_of_caller(&entry.key, entry.key_span, report);
                        continue;
                    }
                    let what = format!("the variable {}", quoted(&entry.key));
                    let value = read::text(&entry.value, &what, Dialect::Compose, report);
                    if let Some(value) = value {
                        self.variable(&entry.key, value, entry.value.span, report);
                    }
                }
            }
            Data::Scalar(_) if node.is_null() => {}
            Data::Scalar(_) => report.error(
                node.span,
                format!(
                    "'environment' must be a mapping or a list, not {}",
                    node.describe()
                ),
                "write NAME: \"value\", one in each line",
            ),
        }
    }

    fn variable(&mut self, name: &str, value: &str, span: Span, report: &mut Report<'_>) {
        if !common::check_variable_name(name, span, report)
            || !common::check_variable_value(value, span, report)
        {
            return;
        }
        let environment = &mut self.draft.spec.environment;
        if environment
            .insert(name.to_owned(), value.to_owned())
            .is_some()
        {
            report.warning(
                span,
                format!(
                    "the variable {} is given twice; this one counts",
                    quoted(name)
                ),
                "keep one of the two",
            );
        }
    }

    /// Keeps a variable's value from everybody but the container.
    fn secret(&mut self, name: String, span: Span, report: &mut Report<'_>) {
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

    /// A variable without a value takes the caller's.
    fn variable_of_caller(&mut self, name: &str, span: Span, report: &mut Report<'_>) {
        let variables = self.variables;
        match variables.get(name) {
            Some(value) => self.variable(name, value, span, report),
            None if common::check_variable_name(name, span, report) => report.warning(
                span,
                format!(
                    "the variable {} has no value here and is not set",
                    quoted(name)
                ),
                format!("set it in the environment, or write {name}: \"\""),
            ),
            None => {}
        }
    }

    fn links(&mut self, node: &Node, report: &mut Report<'_>) {
        let hint = "write '- service' or '- service:alias'";
        for item in read::list(node, "'links'", hint, report).unwrap_or_default() {
            let Some(text) = read::text(item, "a link", Dialect::Compose, report) else {
                continue;
            };
            let (to, alias) = text.split_once(':').unwrap_or((text, text));
            let target = known_service(to, item.span, self.names, report);
            if !common::check_alias(alias, item.span, report) {
                continue;
            }
            if alias != to && self.names.contains(&alias) {
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
        report: &mut Report<'_>,
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
    fn size(&mut self, bytes: u64, span: Span, report: &mut Report<'_>) {
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

fn restart(node: &Node, report: &mut Report<'_>) -> Option<RestartPolicy> {
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

fn stop_signal(node: &Node, report: &mut Report<'_>) -> Option<String> {
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
