//! `flocker audit`: who asked control for what.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output::{self, Style, access};
use crate::quantity::parse_duration;
use clap::Args;
use flocker_types::access::AuditView;
use std::time::{SystemTime, UNIX_EPOCH};

/// Show who asked for what, when, from where, and what came of it
///
/// Every request that changes something is in it, and every refusal. Only admins may see it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker audit
  flocker audit --user ann --since 7d
  flocker audit --since 2026-11-20T00:00:00Z --until 2026-11-21T00:00:00Z --json")]
pub(crate) struct Audit {
    /// Only of this user, by name, or of this node, by id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Only from then on: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,

    /// Only until then
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<u64>,

    /// The newest N
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    format: Format,
}

impl Audit {
    /// Shows it.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut path = format!("/v1/audit?limit={}", self.limit);
        if let Some(user) = &self.user {
            check_name(user)?;
            path.push_str(&format!("&who={user}"));
        }
        for (name, moment) in [("since", self.since), ("until", self.until)] {
            if let Some(moment) = moment {
                path.push_str(&format!("&{name}={moment}"));
            }
        }
        let view: AuditView = global.open()?.client.get(&path).await?;
        if self.format.json {
            return output::json(&view.records);
        }
        output::data(&access::audit(&view, Style::of_stdout()))
    }
}

/// Names of users and ids of nodes mean nothing in a query's text.
fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-');
    match name.chars().all(plain) {
        true => Ok(()),
        false => Err(Failure::new(format!("\"{name}\" is not a user's name"))
            .hint("flocker user ls lists the users")),
    }
}

/// Reads `1h`, meaning an hour ago, or a time as it is shown.
fn parse_moment(text: &str) -> Result<u64, String> {
    let milliseconds = |millis: i64| u64::try_from(millis).unwrap_or_default();
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(milliseconds(timestamp.as_millisecond()));
    }
    let ago = parse_duration(text).map_err(|_| {
        format!("\"{text}\" is not a time; write 90m or 7d (ago), or 2026-11-20T14:00:00Z")
    })?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(u64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_durations_ago() {
        assert_eq!(parse_moment("1970-01-01T00:00:02Z"), Ok(2_000));
        let hour_ago = parse_moment("1h").unwrap();
        let two_hours_ago = parse_moment("2h").unwrap();
        let between = hour_ago - two_hours_ago;
        assert!((3_599_000..=3_601_000).contains(&between), "{between}");
        assert!(parse_moment("yesterday").is_err());
    }
}
