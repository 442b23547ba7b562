//! Which volumes of a container lie within which others, by their targets alone. Pure.

use std::path::{Component, Path, PathBuf};

/// One place: the volume that is mounted at it, and those that lie within that volume, outer ones
/// first. Numbers count the targets that were asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) outer: usize,
    pub(super) nested: Vec<(PathBuf, usize)>,
}

/// The places that these targets need, in an order that depends on nothing else; none when they make no
/// sense to us (not absolute, with `..`, twice the same, everything).
pub(super) fn trees(targets: &[&str]) -> Option<Vec<Tree>> {
    let mut paths: Vec<(PathBuf, usize)> = Vec::new();
    for (number, target) in targets.iter().enumerate() {
        paths.push((plain(target)?, number));
    }
    paths.sort();
    let mut trees: Vec<(PathBuf, Tree)> = Vec::new();
    for (path, number) in paths {
        let within = trees
            .last_mut()
            .filter(|(outer, _)| path.starts_with(outer));
        match within {
            Some((outer, tree)) => {
                let relative = path.strip_prefix(outer).ok()?.to_owned();
                let twice = tree.nested.iter().any(|(other, _)| *other == relative);
                if twice || relative.as_os_str().is_empty() {
                    return None;
                }
                tree.nested.push((relative, number));
            }
            None => {
                let nested = Vec::new();
                let outer = number;
                trees.push((path, Tree { outer, nested }));
            }
        }
    }
    Some(trees.into_iter().map(|(_, tree)| tree).collect())
}

/// The path without what does not count; none for one that leads elsewhere.
fn plain(target: &str) -> Option<PathBuf> {
    let mut components = Path::new(target).components();
    if components.next() != Some(Component::RootDir) {
        return None;
    }
    let mut path = PathBuf::from("/");
    for component in components {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (path != Path::new("/")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(outer: usize, nested: &[(&str, usize)]) -> Tree {
        let nested = nested.iter();
        Tree {
            outer,
            nested: nested.map(|(path, n)| (PathBuf::from(path), *n)).collect(),
        }
    }

    #[test]
    fn volumes_within_others_share_their_place() {
        assert_eq!(trees(&["/data"]), Some(vec![tree(0, &[])]));
        assert_eq!(
            trees(&["/z", "/data/x/y", "/database", "/data", "/data/x"]),
            Some(vec![
                tree(3, &[("x", 4), ("x/y", 1)]),
                tree(2, &[]),
                tree(0, &[]),
            ])
        );
        assert_eq!(
            trees(&["/data/./x/", "//data"]),
            Some(vec![tree(1, &[("x", 0)])])
        );
    }

    #[test]
    fn the_order_is_the_targets_own() {
        let one = trees(&["/b", "/a"]).unwrap();
        assert_eq!(one[0].outer, 1);
        assert_eq!(trees(&["/a", "/b"]).unwrap()[0].outer, 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for targets in [&["data"][..], &["/a/../b"], &["/"], &["/a", "/a/"], &[""]] {
            assert_eq!(trees(targets), None, "{targets:?}");
        }
    }
}
