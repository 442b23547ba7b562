//! What is in a fake volume, and the stream that takes it to another fake. Pure.

use flocker_storage::volume_store::StorageErrorKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fake volume's files: content by path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A stream: what changed from one snapshot to another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Delta {
    from: Option<String>,
    to: String,
    /// New content of changed files; none for removed ones.
    changed: BTreeMap<String, Option<Vec<u8>>>,
}

impl Delta {
    pub(super) fn between(from: Option<(&str, &Files)>, to: (&str, &Files)) -> Self {
        let nothing = Files::new();
        let base = from.map_or(&nothing, |(_, files)| files);
        let written =
            to.1.iter()
                .filter(|(path, content)| base.get(*path) != Some(content));
        let removed = base.keys().filter(|path| !to.1.contains_key(*path));
        Self {
            from: from.map(|(name, _)| name.to_owned()),
            to: to.0.to_owned(),
            changed: written
                .map(|(path, content)| (path.clone(), Some(content.clone())))
                .chain(removed.map(|path| (path.clone(), None)))
                .collect(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StorageErrorKind> {
        serde_json::to_vec(self).map_err(|error| StorageErrorKind::BadStream(error.to_string()))
    }

    pub(super) fn decode(
        bytes: &[u8],
        from: Option<&str>,
        to: &str,
    ) -> Result<Self, StorageErrorKind> {
        let delta: Self = serde_json::from_slice(bytes)
            .map_err(|error| StorageErrorKind::BadStream(error.to_string()))?;
        if delta.from.as_deref() != from || delta.to != to {
            return Err(StorageErrorKind::BadStream(format!(
                "it goes from {:?} to {}, not from {from:?} to {to}",
                delta.from, delta.to
            )));
        }
        Ok(delta)
    }

    pub(super) fn apply(self, mut files: Files) -> Files {
        for (path, content) in self.changed {
            match content {
                Some(content) => files.insert(path, content),
                None => files.remove(&path),
            };
        }
        files
    }
}

/// Bytes of all files.
pub(super) fn size_bytes(files: &Files) -> u64 {
    files
        .values()
        .map(|content| u64::try_from(content.len()).unwrap_or(u64::MAX))
        .sum()
}
