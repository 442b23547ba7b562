//! From what a user types to the service or volume that is meant.
//!
//! Commands that take SERVICE or VOLUME use it. A bare name is enough where it is the only one in the
//! cluster.

use crate::failure::Failure;
use flocker_types::api::{ClusterView, ServiceView, VolumeView};
use flocker_types::ids::ApplicationName;

/// The service that is meant.
pub(crate) fn service<'v>(view: &'v ClusterView, text: &str) -> Result<&'v ServiceView, Failure> {
    let all = view
        .services
        .iter()
        .map(|service| (service, &service.id.application, service.id.name.as_str()));
    pick("service", all, text, |_| false)
}

/// Which volumes of a name are meant: one that is to be deleted has lost its name to a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those in use; where there is none, those that are to be deleted.
    Kept,
    /// Those that are to be deleted.
    Doomed,
}

/// The volume that is meant; its id is understood too.
pub(crate) fn volume<'v>(
    view: &'v ClusterView,
    text: &str,
    wanted: Wanted,
) -> Result<&'v VolumeView, Failure> {
    let of = |wanted: Wanted| match wanted {
        Wanted::Kept => volume_among(view, text, |volume| volume.destroy_after.is_none()),
        Wanted::Doomed => volume_among(view, text, |volume| volume.destroy_after.is_some()),
    };
    match wanted {
        Wanted::Kept => of(Wanted::Kept).or_else(|failure| of(Wanted::Doomed).map_err(|_| failure)),
        Wanted::Doomed => of(Wanted::Doomed).map_err(|failure| {
            failure
                .hint("only a volume that is to be deleted can be restored; see flocker volume ls")
        }),
    }
}

fn volume_among<'v>(
    view: &'v ClusterView,
    text: &str,
    meant: impl Fn(&VolumeView) -> bool,
) -> Result<&'v VolumeView, Failure> {
    let all = view
        .volumes
        .iter()
        .filter(|volume| meant(volume))
        .map(|volume| (volume, &volume.application, volume.name.as_str()));
    pick("volume", all, text, |volume: &VolumeView| {
        volume.id.to_string() == text || volume.id.short() == text
    })
}

/// `name` in the default application, else `application/name`.
pub(crate) fn full_name(application: &ApplicationName, name: &str) -> String {
    match *application == ApplicationName::default() {
        true => name.to_owned(),
        false => format!("{application}/{name}"),
    }
}

/// What was named in full or by id; else what alone has the bare name.
fn pick<'v, T>(
    kind: &str,
    all: impl Iterator<Item = (&'v T, &'v ApplicationName, &'v str)>,
    text: &str,
    has_id: impl Fn(&T) -> bool,
) -> Result<&'v T, Failure> {
    let mut bare = Vec::new();
    let mut known = Vec::new();
    for (thing, application, name) in all {
        let full = full_name(application, name);
        if full == text || format!("{application}/{name}") == text || has_id(thing) {
            return Ok(thing);
        }
        if name == text {
            bare.push((thing, full.clone()));
        }
        known.push(full);
    }
    match bare.as_slice() {
        [(thing, _)] => Ok(thing),
        [] => {
            let failure = Failure::new(format!("there is no {kind} \"{text}\""));
            known.sort();
            Err(match known.as_slice() {
                [] => failure.hint(format!(
                    "this cluster has no {kind}s; deploy an application first"
                )),
                few if few.len() <= 12 => failure.hint(format!("there are: {}", few.join(", "))),
                _ => failure.hint("`flocker status` lists all there are"),
            })
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(_, full)| full.as_str()).collect();
            Err(
                Failure::new(format!("several {kind}s are called \"{text}\""))
                    .hint(format!("say which: {}", names.join(", "))),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick_of(names: &[&'static str], text: &str) -> Result<String, String> {
        let split: Vec<(String, ApplicationName, &str)> = names
            .iter()
            .map(|full| {
                let (application, name) = full.split_once('/').unwrap_or(("default", full));
                (
                    (*full).to_owned(),
                    ApplicationName::new(application).unwrap(),
                    name,
                )
            })
            .collect();
        let all = split
            .iter()
            .map(|(full, application, name)| (full, application, *name));
        match pick("service", all, text, |_| false) {
            Ok(found) => Ok(found.clone()),
            Err(Failure::Told(told)) => Err(told.hint.unwrap_or_default()),
            Err(_) => Err(String::new()),
        }
    }

    #[test]
    fn a_bare_name_is_enough_when_it_is_unique() {
        assert_eq!(
            pick_of(&["shop/db", "blog/web"], "db"),
            Ok("shop/db".into())
        );
        assert_eq!(
            pick_of(&["shop/db", "blog/db"], "blog/db"),
            Ok("blog/db".into())
        );
        assert_eq!(pick_of(&["shop/db", "db"], "db"), Ok("db".into()));
        assert_eq!(pick_of(&["shop/db", "db"], "default/db"), Ok("db".into()));
    }

    #[test]
    fn what_is_not_clear_is_asked_back() {
        assert_eq!(
            pick_of(&["shop/db", "blog/db"], "db"),
            Err("say which: shop/db, blog/db".into())
        );
        assert_eq!(
            pick_of(&["shop/db"], "web"),
            Err("there are: shop/db".into())
        );
        assert!(pick_of(&[], "web").unwrap_err().contains("deploy"));
    }
}
