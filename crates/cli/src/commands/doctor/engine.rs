//! The container engine.

use super::finding::Finding;
use crate::server;
use serde::Deserialize;
use std::path::Path;

/// What `GET /version` of the engine says, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
    api_version: String,
}

/// What `GET /info` of the engine says, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    live_restore_enabled: bool,
    #[serde(default)]
    driver: String,
}

/// The oldest version of the engine's API that Flocker speaks: Docker 20.10's.
const API_MIN: (u32, u32) = (1, 41);

/// How the engine is.
pub(super) fn engine(socket: &Path) -> Vec<Finding> {
    let version = match server::ask_engine(socket, "/version") {
        Ok(answer) => serde_json::from_str::<Version>(&answer),
        Err(error) => {
            let found = format!("none answers at {}: {error}", socket.display());
            let hint = "systemctl status docker\napt-get install docker.io, if it is not there; another \
                        socket by --docker";
            return vec![Finding::bad("engine", found, hint)];
        }
    };
    let Ok(version) = version else {
        let found = format!("what answers at {} is no Docker", socket.display());
        return vec![Finding::bad(
            "engine",
            found,
            "name Docker's socket by --docker",
        )];
    };
    let mut findings = vec![judge(&version, socket)];
    let info = server::ask_engine(socket, "/info");
    if let Some(info) = info
        .ok()
        .and_then(|answer| serde_json::from_str::<Info>(&answer).ok())
    {
        findings.extend(remarks(&info));
    }
    findings
}

fn judge(version: &Version, socket: &Path) -> Finding {
    let found = format!(
        "Docker {} with API {} at {}",
        version.version,
        version.api_version,
        socket.display()
    );
    let numbers = version.api_version.split_once('.');
    let numbers =
        numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match numbers {
        Some(numbers) if numbers >= API_MIN => Finding::well("engine", found),
        _ => Finding::bad(
            "engine",
            format!("{found}: too old"),
            format!(
                "Flocker needs API {}.{}, of Docker 20.10",
                API_MIN.0, API_MIN.1
            ),
        ),
    }
}

fn remarks(info: &Info) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !info.live_restore_enabled {
        findings.push(Finding::notable(
            "engine",
            "when Docker itself is restarted or upgraded, it stops every container",
            "put \"live-restore\": true into /etc/docker/daemon.json, then: systemctl reload docker",
        ));
    }
    if info.driver == "vfs" {
        findings.push(Finding::notable(
            "engine",
            "it copies an image's files for every container (storage driver vfs)",
            "set another storage driver, such as overlay2, in /etc/docker/daemon.json",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn judged(api: &str) -> State {
        let answer = format!(r#"{{"Version":"20.10.24","ApiVersion":"{api}","Os":"linux"}}"#);
        let version = serde_json::from_str(&answer).unwrap();
        judge(&version, Path::new("/run/docker.sock")).state
    }

    #[test]
    fn engines_are_judged_by_their_api() {
        assert_eq!(judged("1.41"), State::Well);
        assert_eq!(judged("1.52"), State::Well);
        assert_eq!(judged("2.0"), State::Well);
        assert_eq!(judged("1.40"), State::Bad);
        assert_eq!(judged("old"), State::Bad);
    }

    #[test]
    fn what_costs_an_operator_sleep_is_remarked() {
        let info: Info =
            serde_json::from_str(r#"{"LiveRestoreEnabled":false,"Driver":"vfs"}"#).unwrap();
        assert_eq!(remarks(&info).len(), 2);
        let info: Info =
            serde_json::from_str(r#"{"LiveRestoreEnabled":true,"Driver":"overlay2"}"#).unwrap();
        assert_eq!(remarks(&info), []);
    }
}
