//! What a node has of its own: pool, certificate, a control to talk to, a clock.

use super::finding::Finding;
use crate::commands::Global;
use crate::context::Contexts;
use crate::failure::Failure;
use crate::node_file::{NodeFile, StateDir};
use crate::quantity;
use crate::units;
use flocker_control::api::Version;
use flocker_net::client::{ApiClient, ClientError};
use flocker_net::pki::MemberCertificate;
use flocker_net::tls::Credentials;
use flocker_storage::{PoolSpec, PoolSurvey};
use flocker_types::time::UnixMs;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A pool with less of itself free than one part in so many deserves a look.
const POOL_FREE_PART_WANTED: u64 = 10;
/// Less free than this is bad, in bytes: the next round of replication may not fit.
const POOL_FREE_BYTES_MIN: u64 = 256 << 20;
/// Clocks further apart make dates in events and logs misleading, in milliseconds.
const CLOCK_APART_MS_WANTED: u64 = 1_000;
/// Clocks further apart let certificates be refused as not valid yet, in milliseconds.
const CLOCK_APART_MS_MAX: u64 = 60_000;
/// A certificate is renewed long before so little of its time is left, in milliseconds: 14 days.
const CERTIFICATE_LEFT_MS_WANTED: u64 = 14 * 86_400_000;

/// The node's own file cannot be used: nothing else can be looked at.
pub(super) fn unreadable(failure: &Failure) -> Finding {
    let (found, hint) = match failure {
        Failure::Told(told) => {
            let causes = told.causes.iter().map(String::as_str);
            let words: Vec<&str> = [told.message.as_str()].into_iter().chain(causes).collect();
            (words.join(": "), told.hint.clone())
        }
        _ => ("the node's file cannot be read".to_owned(), None),
    };
    Finding::bad(
        "node",
        found,
        hint.unwrap_or_else(|| "run it as root".to_owned()),
    )
}

/// The pool, without opening it.
pub(super) async fn pool(spec: &PoolSpec, state_dir: &Path) -> Vec<Finding> {
    judge_pool(&flocker_storage::survey(spec, state_dir).await)
}

fn judge_pool(survey: &PoolSurvey) -> Vec<Finding> {
    let spec = &survey.spec;
    let problems = survey.problems.iter();
    let mut findings: Vec<Finding> = problems
        .map(|problem| Finding::bad("pool", &problem.message, &problem.hint))
        .collect();
    match &survey.usage {
        None if findings.is_empty() => {
            findings.push(Finding::well(
                "pool",
                format!("{spec} can be made or mounted"),
            ));
        }
        None => {}
        Some(usage) => {
            let found = format!(
                "{spec} has {} free of {}",
                quantity::bytes(usage.free_bytes),
                quantity::bytes(usage.size_bytes)
            );
            let how = "make it larger, or `flocker volume ls` and `flocker volume rm`";
            findings.push(match usage.free_bytes {
                free if free < POOL_FREE_BYTES_MIN => Finding::bad("pool", found, how),
                free if free < usage.size_bytes / POOL_FREE_PART_WANTED => {
                    Finding::notable("pool", found, how)
                }
                _ => Finding::well("pool", found),
            });
        }
    }
    findings
}

/// The node's certificate, and what control says to it.
pub(super) async fn certificate_and_control(state: &StateDir, file: &NodeFile) -> Vec<Finding> {
    let credentials = match state.credentials() {
        Ok(credentials) => credentials,
        Err(failure) => {
            let mut finding = unreadable(&failure);
            finding.area = "certificate";
            return vec![finding];
        }
    };
    let again = format!(
        "flocker token --node {}   (where the cluster can be reached)\nflocker join {} --token T --again",
        file.name, file.control
    );
    let mut findings = vec![certificate(
        "certificate",
        &credentials.certificate(),
        &again,
    )];
    findings.extend(control(file, credentials).await);
    findings
}

/// Control, reached as this node; and how far its clock is from this one.
async fn control(file: &NodeFile, credentials: Credentials) -> Vec<Finding> {
    let client = ApiClient::new(file.control, credentials);
    let asked = Instant::now();
    let before = now();
    let answer: Result<Version, ClientError> = client.get("/v1/version").await;
    let took_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
    let version = match answer {
        Ok(version) => version,
        Err(error) => {
            let mut causes = Vec::new();
            let mut source: Option<&dyn std::error::Error> = Some(&error);
            while let Some(cause) = source {
                causes.push(cause.to_string());
                source = cause.source();
            }
            let hint = error.hint().unwrap_or_else(|| {
                format!(
                    "see that control runs, and that nothing keeps {} away",
                    file.control
                )
            });
            return vec![Finding::bad("control", causes.join(": "), hint)];
        }
    };
    let found = format!(
        "{} answers in {}, version {}",
        file.control,
        quantity::milliseconds(took_ms),
        version.version
    );
    let own = env!("CARGO_PKG_VERSION");
    let answered = match version.version == own {
        true => Finding::well("control", found),
        false => Finding::notable(
            "control",
            found,
            format!("this program is version {own}: let all nodes have the same"),
        ),
    };
    // Control read its clock in the middle, as near as can be told.
    let middle = before.0.saturating_add(took_ms / 2);
    vec![answered, clock(version.now, UnixMs(middle), took_ms)]
}

fn clock(control: UnixMs, own: UnixMs, uncertain_ms: u64) -> Finding {
    let apart = control.0.abs_diff(own.0).saturating_sub(uncertain_ms / 2);
    let side = if own > control { "ahead of" } else { "behind" };
    let found = format!("{} {side} control's", quantity::milliseconds(apart));
    let how = "let both keep their time by NTP: timedatectl set-ntp true";
    match apart {
        apart if apart > CLOCK_APART_MS_MAX => Finding::bad("clock", found, how),
        apart if apart > CLOCK_APART_MS_WANTED => Finding::notable("clock", found, how),
        _ => Finding::well("clock", "with control's, as near as can be told"),
    }
}

/// Whether something keeps the clock right, as systemd knows it.
pub(super) fn clock_of_system() -> Finding {
    let how = "timedatectl set-ntp true, or install chrony";
    if !units::systemd_runs() {
        let found = "whether something keeps it right is not known without systemd";
        return Finding::unknown("clock", found, how);
    }
    let words = ["show", "--property=NTPSynchronized", "--value"];
    let output = Command::new("timedatectl").args(words).output();
    match output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) {
        Ok(answer) if answer == "yes" => Finding::well("clock", "is kept right"),
        Ok(_) => Finding::notable("clock", "nothing keeps it right", how),
        Err(error) => Finding::unknown("clock", format!("timedatectl: {error}"), how),
    }
}

/// The certificate of the user who calls, for the context that would be used.
pub(super) fn user_certificate(global: &Global) -> Vec<Finding> {
    let Ok(contexts) = Contexts::of_user() else {
        return Vec::new();
    };
    let Some(name) = global.asked().or_else(|| contexts.current()) else {
        return Vec::new();
    };
    match contexts.certificate(&name) {
        Ok(own) => {
            let how = "flocker user renew";
            vec![certificate("user", &own, how)]
        }
        Err(failure) => {
            let mut finding = unreadable(&failure);
            finding.area = "user";
            vec![finding]
        }
    }
}

fn certificate(area: &'static str, certificate: &MemberCertificate, again: &str) -> Finding {
    let left_ms = certificate.left_ms(now());
    let identity = &certificate.identity.role;
    let until = quantity::moment(certificate.expires);
    let wanted_ms = CERTIFICATE_LEFT_MS_WANTED.min(certificate.validity_ms() / 4);
    match left_ms {
        0 => Finding::bad(area, format!("{identity}: expired at {until}"), again),
        left if left < wanted_ms => Finding::notable(
            area,
            format!(
                "{identity}: ends in {}, at {until}",
                quantity::milliseconds(left)
            ),
            again,
        ),
        _ => Finding::well(area, format!("{identity}: good until {until}")),
    }
}

fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use flocker_storage::PoolProblem;
    use flocker_types::volume::PoolUsage;

    fn judged(free_bytes: u64) -> State {
        let survey = PoolSurvey {
            spec: "zfs:tank/flocker".parse().unwrap(),
            usage: Some(PoolUsage {
                size_bytes: 100 << 30,
                free_bytes,
            }),
            problems: Vec::new(),
        };
        judge_pool(&survey)[0].state
    }

    #[test]
    fn a_pool_that_fills_is_told_before_it_is_full() {
        assert_eq!(judged(50 << 30), State::Well);
        assert_eq!(judged(9 << 30), State::Notable);
        assert_eq!(judged(1 << 20), State::Bad);
    }

    #[test]
    fn a_pool_with_a_problem_is_not_called_well() {
        let survey = PoolSurvey {
            spec: PoolSpec::Auto,
            usage: None,
            problems: vec![PoolProblem {
                message: "no".to_owned(),
                hint: "yes".to_owned(),
            }],
        };
        let [finding] = judge_pool(&survey).try_into().unwrap();
        assert_eq!(finding, Finding::bad("pool", "no", "yes"));
    }

    #[test]
    fn clocks_are_compared_as_far_as_the_way_allows() {
        let state = |own, took| clock(UnixMs(1_000_000), UnixMs(own), took).state;
        assert_eq!(state(1_000_400, 10), State::Well);
        assert_eq!(state(1_002_000, 10), State::Notable);
        assert_eq!(state(1_002_000, 4_000), State::Well, "the way took longer");
        assert_eq!(state(900_000, 10), State::Bad);
        let found = clock(UnixMs(1_000_000), UnixMs(900_000), 0).found;
        assert!(found.ends_with("behind control's"), "{found}");
    }
}
