//! Whether an application that did not come from a manifest makes sense.
//!
//! The manifest crate reports what is wrong with the place in the file; this is for descriptions that
//! programs send to the API. Whether ports and volumes are free is the plan's business.

use crate::app::{Application, LinkTarget, ServiceSpec};
use std::collections::BTreeSet;

impl Application {
    /// What is wrong with it, in words; empty when it makes sense.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (name, spec) in &self.services {
            let mut found = of_service(spec);
            for dependency in spec.depends_on.keys() {
                if !self.services.contains_key(dependency) {
                    found.push(format!(
                        "depends_on names {dependency}, which is no service of it"
                    ));
                }
            }
            mistakes.extend(
                found
                    .into_iter()
                    .map(|what| format!("service {name}: {what}")),
            );
        }
        mistakes
    }
}

fn of_service(spec: &ServiceSpec) -> Vec<String> {
    let mut mistakes = Vec::new();
    if spec.image.is_empty() || spec.image.contains(char::is_whitespace) {
        mistakes.push(format!("{:?} is no image", spec.image));
    }
    let published = spec
        .ports
        .iter()
        .flat_map(|port| [port.internal, port.external]);
    let linked = spec.links.iter().flat_map(|link| match link.target {
        LinkTarget::Service(_) => [None, None],
        LinkTarget::Published {
            local_port,
            remote_port,
        } => [Some(local_port), Some(remote_port)],
    });
    let mut ports = published
        .chain(spec.expose.iter().copied())
        .chain(linked.flatten());
    if ports.any(|port| port == 0) {
        mistakes.push("0 is no port".to_owned());
    }
    if spec.links.iter().any(|link| link.alias.is_empty()) {
        mistakes.push("a link has no alias".to_owned());
    }
    let variables = spec
        .environment
        .keys()
        .chain(spec.secret_environment.keys());
    for name in variables.filter(|name| name.is_empty() || name.contains(['=', '\0'])) {
        mistakes.push(format!("{name:?} is no name of a variable"));
    }
    if spec
        .health_check
        .as_ref()
        .is_some_and(|check| check.test.is_empty())
    {
        mistakes.push("the health check has no test".to_owned());
    }
    let volumes = spec.mounts.iter().map(|mount| &mount.target);
    let binds = spec.container.binds.iter().map(|bind| &bind.target);
    let files = spec.container.files.iter().map(|file| &file.target);
    let tmpfs = spec.container.tmpfs.keys();
    let mut seen = BTreeSet::new();
    for target in volumes.chain(binds).chain(files).chain(tmpfs) {
        if !is_mountpoint(target) {
            mistakes.push(format!(
                "{target:?} is no absolute path below / without . and .."
            ));
        } else if !seen.insert(target) {
            mistakes.push(format!("two things are mounted at {target}"));
        }
    }
    let mut mounted = BTreeSet::new();
    for mount in spec
        .mounts
        .iter()
        .filter(|mount| !mounted.insert(&mount.volume))
    {
        mistakes.push(format!("the volume {} is mounted twice", mount.volume));
    }
    mistakes
}

/// An absolute path, not the root, without anything that another path could say more shortly.
fn is_mountpoint(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|path| path.split('/'));
    parts.is_some_and(|mut parts| {
        parts.all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{DependencyCondition, PortMapping, VolumeMount};
    use crate::ids::{ApplicationName, ServiceName, VolumeName};

    fn mistakes(change: impl FnOnce(&mut ServiceSpec)) -> Vec<String> {
        let mut spec = ServiceSpec::of_image("redis:7");
        change(&mut spec);
        let name = ServiceName::new("db").unwrap();
        let services = [(name, spec)].into();
        Application {
            name: ApplicationName::default(),
            services,
        }
        .mistakes()
    }

    fn mount(volume: &str, target: &str) -> VolumeMount {
        VolumeMount {
            volume: VolumeName::new(volume).unwrap(),
            target: target.to_owned(),
            size_bytes_max: None,
            read_only: false,
        }
    }

    #[test]
    fn what_makes_sense_has_no_mistakes() {
        let found = mistakes(|spec| {
            spec.mounts = vec![mount("data", "/data"), mount("more", "/data/more")];
            spec.ports = vec![PortMapping {
                internal: 6379,
                external: 6379,
            }];
        });
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn each_mistake_is_told_with_its_service() {
        assert_eq!(
            mistakes(|spec| spec.image.clear()),
            ["service db: \"\" is no image"]
        );
        assert_eq!(
            mistakes(|spec| spec.expose = [0].into()),
            ["service db: 0 is no port"]
        );
        let twice = vec![mount("a", "/data"), mount("b", "/data")];
        assert_eq!(
            mistakes(|spec| spec.mounts = twice),
            ["service db: two things are mounted at /data"]
        );
        for bad in ["data", "/", "/a/../b", "/a//b", "/a/", ""] {
            assert_eq!(
                mistakes(|spec| spec.mounts = vec![mount("a", bad)]).len(),
                1,
                "{bad}"
            );
        }
        let other = ServiceName::new("other").unwrap();
        let dependency = [(other, DependencyCondition::Started)].into();
        assert_eq!(
            mistakes(|spec| spec.depends_on = dependency),
            ["service db: depends_on names other, which is no service of it"]
        );
    }
}
