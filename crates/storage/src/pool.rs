//! Which pool a node uses, and opening or making it.
//!
//! The agent (and the sandbox) calls it once at the start, and closes it at the end. What is kept in
//! the pool is the stores' business.

use crate::btrfs::{BtrfsStore, SendProtocol};
use crate::image::{ImageFile, ImageSize};
use crate::volume_store::{StorageError, StorageErrorKind, StorageOperation, VolumeStore, io_at};
use crate::zfs::{self, ZfsStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// How often the room in an image is looked at.
const GROWTH_INTERVAL: Duration = Duration::from_millis(500);

/// Where a node keeps volumes, as written in its configuration:
/// `btrfs:/path`, `btrfs-image:/path/to/file[,size=10G]`, `zfs:pool/dataset`, or `auto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolSpec {
    /// A directory on an existing btrfs filesystem.
    Btrfs {
        /// The directory.
        directory: PathBuf,
    },
    /// A file that is formatted as btrfs and mounted.
    BtrfsImage {
        /// The file.
        file: PathBuf,
        /// How large it may grow; without it, as large as the disk beneath allows.
        size_bytes_max: Option<u64>,
    },
    /// A ZFS dataset, or a ZFS pool by its name.
    Zfs {
        /// The dataset.
        dataset: String,
    },
    /// The first of: the ZFS dataset `flocker` or `<pool>/flocker`; the node's own directory, if that
    /// lies on btrfs; an image file in that directory.
    Auto,
}

/// The description of a pool cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" does not describe a pool: {reason}; write btrfs:/path, \
     btrfs-image:/path/to/file,size=10G, zfs:pool/dataset or auto"
)]
pub struct InvalidPoolSpec {
    /// The description as given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for PoolSpec {
    type Err = InvalidPoolSpec;

    fn from_str(text: &str) -> Result<Self, InvalidPoolSpec> {
        let invalid = |reason: &str| InvalidPoolSpec {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| invalid("it has no kind before a \":\""))?;
        let absolute = |path: &str| {
            let path = PathBuf::from(path);
            match path.is_absolute() {
                true => Ok(path),
                false => Err(invalid("the path must be absolute")),
            }
        };
        match kind {
            "btrfs" => Ok(Self::Btrfs {
                directory: absolute(rest)?,
            }),
            "btrfs-image" => {
                let (path, size) = match rest.split_once(",size=") {
                    Some((path, size)) => (path, Some(size)),
                    None => (rest, None),
                };
                let size_bytes_max = size
                    .map(|size| parse_size(size).ok_or_else(|| invalid("the size is no size")))
                    .transpose()?;
                Ok(Self::BtrfsImage {
                    file: absolute(path)?,
                    size_bytes_max,
                })
            }
            "zfs" if is_dataset_name(rest) => Ok(Self::Zfs {
                dataset: rest.to_owned(),
            }),
            "zfs" => Err(invalid("that is no name of a dataset")),
            _ => Err(invalid("its kind is none of btrfs, btrfs-image and zfs")),
        }
    }
}

impl fmt::Display for PoolSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btrfs { directory } => write!(f, "btrfs:{}", directory.display()),
            Self::BtrfsImage {
                file,
                size_bytes_max,
            } => {
                write!(f, "btrfs-image:{}", file.display())?;
                match size_bytes_max {
                    Some(bytes) => write!(f, ",size={bytes}"),
                    None => Ok(()),
                }
            }
            Self::Zfs { dataset } => write!(f, "zfs:{dataset}"),
            Self::Auto => f.pad("auto"),
        }
    }
}

/// Reads `10G`, `512MiB`, `4096`: binary units.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn is_dataset_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'))
    };
    name.len() <= 128 && name.split('/').all(part)
}

/// An open pool.
pub struct Pool {
    store: Arc<dyn VolumeStore>,
    image: Option<Arc<ImageFile>>,
    grower: Option<AbortHandle>,
    spec: PoolSpec,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Opens the pool, or makes it. `directory` is the node's own: an image is mounted in it, and
    /// `auto` makes its pool there. Works again after a crash, whatever that left.
    ///
    /// # Errors
    /// A device or dataset is missing, or a command of the filesystem failed; the error says which.
    pub async fn open(spec: &PoolSpec, directory: &Path) -> Result<Self, StorageError> {
        let failed = |kind| StorageError::of_pool(StorageOperation::OpenPool, kind);
        std::fs::create_dir_all(directory)
            .map_err(io_at("make", directory))
            .map_err(failed)?;
        let spec = match spec {
            PoolSpec::Auto => detect(directory).await.map_err(failed)?,
            given => given.clone(),
        };
        let (store, image): (Arc<dyn VolumeStore>, _) = match &spec {
            PoolSpec::Btrfs { directory } => (
                Arc::new(BtrfsStore::open(directory, SendProtocol::One).await?),
                None,
            ),
            PoolSpec::BtrfsImage {
                file,
                size_bytes_max,
            } => {
                let size = ImageSize::growing_to(size_bytes_max.unwrap_or(u64::MAX >> 1));
                let image = ImageFile::open(file, &directory.join("pool"), size).await;
                let image = Arc::new(image.map_err(failed)?);
                let store = BtrfsStore::open(image.mount(), SendProtocol::One).await?;
                (Arc::new(store.in_image(Arc::clone(&image))), Some(image))
            }
            PoolSpec::Zfs { dataset } => {
                let store = ZfsStore::open(dataset, &directory.join("zfs")).await?;
                (Arc::new(store), None)
            }
            PoolSpec::Auto => {
                let why = "nothing was detected".to_owned();
                return Err(failed(StorageErrorKind::WrongRole(why)));
            }
        };
        Ok(Self {
            store,
            grower: image.as_ref().map(|image| spawn_grower(Arc::clone(image))),
            image,
            spec,
        })
    }

    /// The volumes in it.
    pub fn store(&self) -> Arc<dyn VolumeStore> {
        Arc::clone(&self.store)
    }

    /// What was opened; for `auto`, what was found or made.
    pub fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// Unmounts what [`open`](Self::open) mounted. Nothing may use a volume any more.
    ///
    /// # Errors
    /// The mount is still in use.
    pub async fn close(self) -> Result<(), StorageError> {
        let Some(image) = self.image.clone() else {
            return Ok(());
        };
        drop(self);
        let unmounted = tokio::task::spawn_blocking(move || image.unmount()).await;
        unmounted
            .map_err(|error| StorageErrorKind::io("unmount the pool", error.into()))
            .and_then(|unmounted| unmounted)
            .map_err(|kind| StorageError::of_pool(StorageOperation::OpenPool, kind))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(grower) = &self.grower {
            grower.abort();
        }
    }
}

fn spawn_grower(image: Arc<ImageFile>) -> AbortHandle {
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(GROWTH_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = image.grow_if_needed().await {
                tracing::warn!(%error, "the pool's image cannot grow");
            }
        }
    });
    task.abort_handle()
}

async fn detect(directory: &Path) -> Result<PoolSpec, StorageErrorKind> {
    if let Some(dataset) = zfs::find_dataset().await {
        return Ok(PoolSpec::Zfs { dataset });
    }
    if crate::btrfs::sys::is_btrfs(directory).map_err(io_at("look at", directory))? {
        let directory = directory.join("pool");
        std::fs::create_dir_all(&directory).map_err(io_at("make", &directory))?;
        return Ok(PoolSpec::Btrfs { directory });
    }
    Ok(PoolSpec::BtrfsImage {
        file: directory.join("pool.btrfs"),
        size_bytes_max: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_as_it_is_shown() {
        for text in [
            "auto",
            "btrfs:/srv/volumes",
            "btrfs-image:/var/lib/flocker/pool.img",
            "btrfs-image:/var/lib/flocker/pool.img,size=10737418240",
            "zfs:tank/flocker",
        ] {
            assert_eq!(text.parse::<PoolSpec>().unwrap().to_string(), text);
        }
        let spec: PoolSpec = "btrfs-image:/p,size=10G".parse().unwrap();
        assert_eq!(spec.to_string(), "btrfs-image:/p,size=10737418240");
    }

    #[test]
    fn what_is_no_pool_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "no kind"),
            ("btrfs:relative", "absolute"),
            ("btrfs-image:/p,size=lots", "no size"),
            ("btrfs-image:/p,size=99999999999T", "no size"),
            ("zfs:-bad", "no name of a dataset"),
            ("zfs:a//b", "no name of a dataset"),
            ("lvm:/dev/x", "none of"),
        ] {
            let error = text.parse::<PoolSpec>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }
}
