//! The short form of a volume, `source:target:options`, taken apart as Compose does.
//!
//! Decides nothing about what is allowed.

/// The parts of `[source:]target[:options]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Volume<'t> {
    /// A name, a path, or nothing for a volume without a name.
    pub(super) source: Option<&'t str>,
    /// Where it is seen in the container.
    pub(super) target: &'t str,
    /// What follows the target, split at commas.
    pub(super) options: &'t str,
    /// What follows that, which is too much.
    pub(super) rest: Option<&'t str>,
}

impl Volume<'_> {
    /// True when the source is a path of the node, not the name of a volume.
    pub(super) fn is_path(&self) -> bool {
        self.source
            .is_some_and(|source| source.starts_with(['/', '.', '~']))
    }
}

/// Takes a short form apart.
pub(super) fn volume(text: &str) -> Volume<'_> {
    let mut parts = text.splitn(4, ':');
    let first = parts.next().unwrap_or("");
    let (source, target) = match parts.next() {
        Some(target) => (Some(first), target),
        None => (None, first),
    };
    Volume {
        source,
        target,
        options: parts.next().unwrap_or(""),
        rest: parts.next(),
    }
}
