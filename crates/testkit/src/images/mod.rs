//! Container images for engines that may reach no registry: public ones where they can be pulled,
//! else equivalent ones built from the distribution's packages.
//!
//! Used by tests and by the demo. Each image is pulled or built once per machine and kept in a cache;
//! nothing is installed on the machine for it. Needs root, `apt-get` and `dpkg-deb`.

mod archive;
mod engine;
mod error;
mod packages;
mod recipes;
mod rootfs;

pub use error::ImageError;

use crate::wait;
use engine::Engine;
use futures_util::future::try_join_all;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a registry has to give the smallest image before we build instead.
const REGISTRY_LIMIT: Duration = Duration::from_secs(15);
const PULL_LIMIT: Duration = Duration::from_secs(300);
/// How long another process may take to build the same image.
const OTHER_BUILD_LIMIT: Duration = Duration::from_secs(600);
/// Raised when equal recipes would give other images.
const FORMAT: &str = "1";

/// An image that we can provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// PostgreSQL, used like the public image.
    Postgres,
    /// Redis, used like the public image.
    Redis,
    /// The page of the example shop.
    ShopWeb,
    /// A shell, `nc`, `httpd` and such.
    Busybox,
}

impl Image {
    /// Its name in the engine.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres:15",
            Self::Redis => "redis:7",
            Self::ShopWeb => "shop-web:1",
            Self::Busybox => "busybox:1.36",
        }
    }

    /// Whether registries have it.
    fn is_public(self) -> bool {
        self != Self::ShopWeb
    }
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From its public registry.
    Pulled,
    /// Built here from the distribution's packages.
    Built,
}

/// An image that is now in every engine that was named.
#[derive(Debug, Clone)]
pub struct Provided {
    /// Which.
    pub image: Image,
    /// Whence.
    pub origin: Origin,
    /// Its id, the same in every engine.
    pub id: String,
    /// Size of its archive.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Puts images into engines, by their sockets; those that are there already are left alone.
pub async fn provide(sockets: &[PathBuf], images: &[Image]) -> Result<Vec<Provided>, ImageError> {
    let mut provided = Vec::new();
    let mut registry = None;
    for image in images {
        let started = Instant::now();
        let archive = obtain(*image, sockets.first(), &mut registry).await?;
        let loads = sockets
            .iter()
            .map(|socket| load(Engine { socket }, *image, &archive));
        try_join_all(loads).await?;
        provided.push(Provided {
            image: *image,
            origin: archive.origin,
            bytes: archive.bytes,
            id: archive.id,
            took: started.elapsed(),
        });
    }
    Ok(provided)
}

/// The archive of an image that was provided before, for an engine that is out of reach.
pub async fn archive_of(image: Image) -> Result<PathBuf, ImageError> {
    Ok(obtain(image, None, &mut None).await?.path)
}

async fn load(engine: Engine<'_>, image: Image, archive: &Archive) -> Result<(), ImageError> {
    if engine.image_id(image.name()).await?.as_ref() == Some(&archive.id) {
        return Ok(());
    }
    engine.load(&archive.path).await
}

/// An image in the cache.
#[derive(Debug)]
struct Archive {
    path: PathBuf,
    origin: Origin,
    id: String,
    bytes: u64,
}

impl Archive {
    /// What the cache has under this path; none unless it is complete.
    fn cached(path: PathBuf, origin: Origin) -> Option<Self> {
        let id = fs::read_to_string(path.with_extension("id")).ok()?;
        let bytes = fs::metadata(&path).ok()?.len();
        Some(Self {
            path,
            origin,
            id,
            bytes,
        })
    }

    /// Takes a finished draft into the cache. The id goes last: it says that the archive is whole.
    fn keep(draft: &Path, path: PathBuf, origin: Origin, id: &str) -> Result<Self, ImageError> {
        fs::rename(draft, &path).map_err(ImageError::file("rename", draft))?;
        let id_file = path.with_extension("id");
        fs::write(&id_file, id).map_err(ImageError::file("write", &id_file))?;
        let cached = Self::cached(path, origin);
        cached
            .ok_or_else(|| ImageError::file("read", &id_file)(std::io::ErrorKind::NotFound.into()))
    }
}

async fn obtain(
    image: Image,
    puller: Option<&PathBuf>,
    registry: &mut Option<bool>,
) -> Result<Archive, ImageError> {
    let cache = cache_directory();
    fs::create_dir_all(&cache).map_err(ImageError::file("make", &cache))?;
    let stem = image.name().replace(':', "-");
    let _lock = lock(&cache.join(format!("{stem}.lock")), &stem).await?;
    let pulled = cache.join(format!("{stem}-pulled.tar"));
    let built = cache.join(format!("{stem}-built-{}.tar", recipe_key()));
    let cached = Archive::cached(pulled.clone(), Origin::Pulled)
        .or_else(|| Archive::cached(built.clone(), Origin::Built));
    if let Some(archive) = cached {
        return Ok(archive);
    }
    if let Some(socket) = puller.filter(|_| image.is_public()) {
        let engine = Engine { socket };
        if registry.is_none() {
            let smallest = engine.pull(Image::Busybox.name(), REGISTRY_LIMIT).await;
            *registry = Some(smallest.is_ok());
        }
        if *registry == Some(true) {
            return pull(engine, image, pulled).await;
        }
    }
    build(image, built).await
}

async fn pull(engine: Engine<'_>, image: Image, path: PathBuf) -> Result<Archive, ImageError> {
    engine.pull(image.name(), PULL_LIMIT).await?;
    let draft = path.with_extension("tar.new");
    engine.save(image.name(), &draft).await?;
    let id = engine.image_id(image.name()).await?.unwrap_or_default();
    Archive::keep(&draft, path, Origin::Pulled, &id)
}

async fn build(image: Image, path: PathBuf) -> Result<Archive, ImageError> {
    remove_older(image, &path)?;
    let work = path.with_extension("work");
    let (stage, root) = (work.join("stage"), work.join("root"));
    let config = recipes::fill(image, &stage, &root).await?;
    let draft = path.with_extension("tar.new");
    let packed = (root, draft.clone());
    let pack = move || archive::write(&packed.0, image.name(), &config, &packed.1);
    let id = match tokio::task::spawn_blocking(pack).await {
        Ok(id) => id?,
        Err(panicked) => return Err(ImageError::file("pack", &draft)(panicked.into())),
    };
    fs::remove_dir_all(&work).map_err(ImageError::file("remove", &work))?;
    Archive::keep(&draft, path, Origin::Built, &id)
}

/// Removes what other recipes made of the image, and what a crash left half-made.
fn remove_older(image: Image, path: &Path) -> Result<(), ImageError> {
    let cache = path.parent().unwrap_or(path);
    let stem = format!("{}-built-", image.name().replace(':', "-"));
    let entries = fs::read_dir(cache).map_err(ImageError::file("read", cache))?;
    for entry in entries.flatten() {
        let old = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(&stem) {
            continue;
        }
        let removed = match old.is_dir() {
            true => fs::remove_dir_all(&old),
            false => fs::remove_file(&old),
        };
        removed.map_err(ImageError::file("remove", &old))?;
    }
    Ok(())
}

/// Short for what a built image is made by: our recipes and the distribution.
fn recipe_key() -> String {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let text = [FORMAT, std::env::consts::ARCH, &system, &recipes::source()].join("\n");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    archive::hex(&digest.as_ref()[..6])
}

fn cache_directory() -> PathBuf {
    let base =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| "/var/cache".into(), PathBuf::from);
    base.join("flocker/images")
}

async fn lock(path: &Path, what: &str) -> Result<File, ImageError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = file.map_err(ImageError::file("open", path))?;
    let what = format!("another process to build {what}");
    wait::until(&what, OTHER_BUILD_LIMIT, || async {
        match file.try_lock() {
            Ok(()) => Ok(Some(())),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(ImageError::file("lock", path)(error)),
        }
    })
    .await?;
    Ok(file)
}
