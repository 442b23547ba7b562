//! The services of systemd that keep a node's roles running.
//!
//! `init` and `join` write and start them where systemd runs; elsewhere they say which commands to run.

use crate::failure::Failure;
use crate::output;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where units of an administrator belong.
const UNIT_DIRECTORY: &str = "/etc/systemd/system";
/// Exists while systemd runs.
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// A role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `flocker control`.
    Control,
    /// `flocker agent`.
    Agent,
    /// `flocker proxy`.
    Proxy,
}

impl Role {
    /// Of the server where control runs.
    pub(crate) const WITH_CONTROL: &[Self] = &[Self::Control, Self::Agent, Self::Proxy];
    /// Of every other server.
    pub(crate) const NODE_ONLY: &[Self] = &[Self::Agent, Self::Proxy];

    /// The command that runs it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Agent => "agent",
            Self::Proxy => "proxy",
        }
    }

    fn unit(self) -> String {
        format!("flocker-{}.service", self.name())
    }
}

/// How the roles come to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// systemd runs them, now and after every boot.
    BySystemd,
    /// The user was told how to start them.
    NotYet,
}

/// Whether systemd runs this server.
pub(crate) fn systemd_runs() -> bool {
    Path::new(SYSTEMD_RUNS).is_dir()
}

/// Makes the roles run now and after every boot.
pub(crate) fn start(roles: &[Role], state_dir: &Path) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::because("cannot find this program's own file", &error))?;
    for role in roles {
        let path = Path::new(UNIT_DIRECTORY).join(role.unit());
        fs::write(&path, unit(*role, &program, state_dir)).map_err(|error| {
            Failure::because(format!("cannot write {}", path.display()), &error)
        })?;
    }
    systemctl(&["daemon-reload"])?;
    let units: Vec<String> = roles.iter().map(|role| role.unit()).collect();
    let mut words = vec!["enable", "--now", "--quiet"];
    words.extend(units.iter().map(String::as_str));
    systemctl(&words)?;
    output::note(&format!("started {}", units.join(", ")));
    Ok(())
}

/// Tells how to start the roles by hand.
pub(crate) fn tell_how_to_start(roles: &[Role], state_dir: &Path) {
    let commands: Vec<String> = roles
        .iter()
        .map(|role| {
            format!(
                "  flocker {} --state-dir {}",
                role.name(),
                state_dir.display()
            )
        })
        .collect();
    output::hint(&format!(
        "keep these running, as root:\n{}",
        commands.join("\n")
    ));
}

fn systemctl(words: &[&str]) -> Result<(), Failure> {
    let command = format!("systemctl {}", words.join(" "));
    let output = Command::new("systemctl")
        .args(words)
        .output()
        .map_err(|error| Failure::because(format!("cannot run {command}"), &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{command} failed: {}", said.trim()))
        .hint("`journalctl -u 'flocker-*'` may say more"))
}

fn unit(role: Role, program: &Path, state_dir: &Path) -> String {
    let (does, needs) = match role {
        Role::Control => (
            "decides",
            "After=network-online.target\nWants=network-online.target",
        ),
        Role::Agent => (
            "runs this node's containers and keeps its volumes",
            "After=network-online.target docker.service\nWants=network-online.target docker.service",
        ),
        Role::Proxy => (
            "answers for every service on this node",
            "After=network-online.target\nWants=network-online.target",
        ),
    };
    format!(
        "[Unit]
Description=Flocker {name}: {does}
{needs}
StartLimitIntervalSec=0

[Service]
ExecStart={program} {name} --state-dir {state_dir}
Restart=always
RestartSec=1
TimeoutStopSec=20
LimitNOFILE=1048576
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
",
        name = role.name(),
        program = quoted(program),
        state_dir = quoted(state_dir),
    )
}

/// A path as one word of a unit.
fn quoted(path: &Path) -> String {
    let text = path
        .display()
        .to_string()
        .replace('%', "%%")
        .replace('$', "$$");
    match text.contains([' ', '"', '\\', '\'']) {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_unit() {
        let text = unit(
            Role::Agent,
            Path::new("/usr/local/bin/flocker"),
            Path::new("/srv/my flocker"),
        );
        insta::assert_snapshot!(text, @r#"
        [Unit]
        Description=Flocker agent: runs this node's containers and keeps its volumes
        After=network-online.target docker.service
        Wants=network-online.target docker.service
        StartLimitIntervalSec=0

        [Service]
        ExecStart=/usr/local/bin/flocker agent --state-dir "/srv/my flocker"
        Restart=always
        RestartSec=1
        TimeoutStopSec=20
        LimitNOFILE=1048576
        OOMScoreAdjust=-500

        [Install]
        WantedBy=multi-user.target
        "#);
    }
}
