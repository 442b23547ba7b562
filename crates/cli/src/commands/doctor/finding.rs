//! What `flocker doctor` has found, and how it is shown.

use crate::output::Style;
use serde::Serialize;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Well.
    Well,
    /// It works; somebody should look at it.
    Notable,
    /// Flocker cannot work, or will soon not.
    Bad,
    /// It could not be looked at.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What kind of thing.
    pub(super) area: &'static str,
    /// How it is.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Finding {
    /// It is well.
    pub(super) fn well(area: &'static str, found: impl Into<String>) -> Self {
        Self::new(area, State::Well, found, None)
    }

    /// It works, and yet.
    pub(super) fn notable(
        area: &'static str,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(area, State::Notable, found, Some(hint.into()))
    }

    /// It has to be mended.
    pub(super) fn bad(
        area: &'static str,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(area, State::Bad, found, Some(hint.into()))
    }

    /// Nobody knows.
    pub(super) fn unknown(
        area: &'static str,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(area, State::Unknown, found, Some(hint.into()))
    }

    fn new(
        area: &'static str,
        state: State,
        found: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self {
            area,
            state,
            found: found.into(),
            hint,
        }
    }
}

/// Everything that was found, a line each, with how to mend beneath.
pub(super) fn render(findings: &[Finding], style: Style) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.state {
            State::Well => style.good("ok     "),
            State::Notable => style.notable("look at"),
            State::Bad => style.bad("BAD    "),
            State::Unknown => style.notable("unknown"),
        };
        text.push_str(&format!(
            "{mark}  {:<12}  {}\n",
            finding.area, finding.found
        ));
        for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
            text.push_str(&format!("{:23}{}\n", "", style.faint(line)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_has_its_cure_beneath() {
        let findings = [
            Finding::well("system", "Linux 6.1.0"),
            Finding::notable("clock", "2.0 s ahead", "systemctl status systemd-timesyncd"),
            Finding::bad("disk", "12 MiB left", "make room\nor move it"),
            Finding::unknown("certificates", "not readable", "run it as root"),
        ];
        insta::assert_snapshot!(render(&findings, Style::Plain), @r"
        ok       system        Linux 6.1.0
        look at  clock         2.0 s ahead
                               systemctl status systemd-timesyncd
        BAD      disk          12 MiB left
                               make room
                               or move it
        unknown  certificates  not readable
                               run it as root
        ");
    }
}
