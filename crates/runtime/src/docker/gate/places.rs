//! The places of a container's volumes: directories of the node that are mounted into the container
//! before the volumes are there, and over which the volumes are mounted later. What is mounted on a
//! shared mount reaches the container's own mounts.
//!
//! Plain blocking functions. Nothing here knows of containers or volumes but by paths.

use super::tree::Tree;
use crate::runtime_trait::MountRequest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Mounts that may lie one upon the other before something is wrong.
const STACKED_MAX: usize = 16;
/// A mount that is made in a place and taken away again, to see whether it arrives.
const TRIAL: &str = ".trial";

/// The places of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// Below it one directory for each place, named by its number.
    directory: PathBuf,
    /// Where trees of volumes are put together.
    staging: PathBuf,
}

impl Places {
    /// `name` is the container's.
    pub(super) fn of(home: &Path, name: &str) -> Self {
        Self {
            directory: home.join("places").join(name),
            staging: home.join("staging").join(name),
        }
    }

    pub(super) fn place(&self, number: usize) -> PathBuf {
        self.directory.join(number.to_string())
    }

    /// How a table of mounts ends the name of a place: its path on the filesystem that it is on.
    pub(super) fn suffix(&self, number: usize) -> String {
        let name = self.directory.file_name().unwrap_or_default();
        format!("/places/{}/{number}", name.to_string_lossy())
    }

    /// Makes so many empty places, and takes away what was there before.
    pub(super) fn make(&self, count: usize) -> io::Result<()> {
        self.remove()?;
        for number in 0..count {
            std::fs::create_dir_all(self.place(number))?;
        }
        Ok(())
    }

    /// Numbers of the places that there are.
    pub(super) fn numbers(&self) -> io::Result<Vec<usize>> {
        let mut numbers = Vec::new();
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(numbers),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Whether there are places and something is mounted at each of them.
    pub(super) fn are_covered(&self) -> io::Result<bool> {
        let numbers = self.numbers()?;
        for number in &numbers {
            if !is_mount(&self.place(*number))? {
                return Ok(false);
            }
        }
        Ok(!numbers.is_empty())
    }

    /// Mounts a tree of volumes at a place. Everything of it arrives at once.
    pub(super) fn cover(
        &self,
        number: usize,
        tree: &Tree,
        volumes: &[MountRequest],
    ) -> io::Result<()> {
        let place = self.place(number);
        let outer = &volumes[tree.outer];
        if is_mount(&place)? {
            return Ok(());
        }
        if tree.nested.is_empty() && !outer.read_only {
            return mount_bind(&outer.source, &place).map_err(at("mount the volume on", &place));
        }
        let staging = self.staging.join(number.to_string());
        std::fs::create_dir_all(&staging).map_err(|error| named("make", &staging, &error))?;
        clear(&staging)?;
        let put_together = stage(&staging, tree, volumes)
            .and_then(|()| mount_bind_recursive(&staging, &place).map_err(at("cover", &place)));
        // Also after a failure: what is staged is of no use any more.
        clear(&staging)?;
        put_together
    }

    /// Takes every mount away from the places. Only for a container that does not run.
    pub(super) fn uncover(&self) -> io::Result<()> {
        for number in self.numbers()? {
            clear(&self.place(number))?;
        }
        Ok(())
    }

    /// Takes the places away, with what is mounted on them.
    pub(super) fn remove(&self) -> io::Result<()> {
        for directory in [&self.directory, &self.staging] {
            // By single steps: what could not be unmounted must never be deleted.
            for entry in entries(directory)? {
                let trial = entry.join(TRIAL);
                clear(&trial)?;
                clear(&entry)?;
                if trial.exists() {
                    std::fs::remove_dir(&trial)?;
                }
                std::fs::remove_dir(&entry).map_err(|error| named("remove", &entry, &error))?;
            }
            match std::fs::remove_dir(directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(named("remove", directory, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a mount below a place for as long as `look` looks for it, by the end of its name.
    pub(super) fn with_trial<T>(&self, look: impl FnOnce(&str) -> T) -> io::Result<T> {
        let directory = self.place(0).join(TRIAL);
        std::fs::create_dir_all(&directory)?;
        mount_bind(&directory, &directory).map_err(at("mount", &directory))?;
        let seen = look(&format!("{}/{TRIAL}", self.suffix(0)));
        clear(&directory)?;
        std::fs::remove_dir(&directory)?;
        Ok(seen)
    }
}

/// Names of the containers that have places.
pub(super) fn owners(home: &Path) -> io::Result<Vec<String>> {
    let names = entries(&home.join("places"))?.into_iter();
    Ok(names
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect())
}

/// Puts a tree together at a directory, by mounts that nobody else sees.
fn stage(staging: &Path, tree: &Tree, volumes: &[MountRequest]) -> io::Result<()> {
    put(&volumes[tree.outer], staging)?;
    for (relative, number) in &tree.nested {
        // What a volume has in it may lead anywhere: nothing of it is followed.
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(staging, flags, Mode::empty())?;
        let point = rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve);
        let point = point.map_err(at(
            "find a directory for a volume at",
            &staging.join(relative),
        ))?;
        put(
            &volumes[*number],
            Path::new(&format!("/proc/self/fd/{}", point.as_raw_fd())),
        )?;
    }
    Ok(())
}

/// Mounts one volume, for nobody else to see, and read-only before anybody can use it.
fn put(volume: &MountRequest, target: &Path) -> io::Result<()> {
    mount_bind(&volume.source, target).map_err(at("mount", &volume.source))?;
    let reached = std::fs::canonicalize(target)?;
    mount_change(&reached, MountPropagationFlags::PRIVATE).map_err(at("close", &reached))?;
    if volume.read_only {
        mount_remount(&reached, MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(at("make read-only", &reached))?;
    }
    Ok(())
}

/// Takes away everything that is mounted on a directory.
fn clear(directory: &Path) -> io::Result<()> {
    for _ in 0..STACKED_MAX {
        if !is_mount(directory)? {
            return Ok(());
        }
        unmount(directory, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(at("unmount", directory))?;
    }
    let message = "more is mounted there than we can have mounted";
    Err(named("unmount", directory, &io::Error::other(message)))
}

/// Whether something is mounted on a directory; no for one that is not there.
fn is_mount(directory: &Path) -> io::Result<bool> {
    let found = rustix::fs::statx(
        CWD,
        directory,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    );
    let found = match found {
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        found => found.map_err(at("look at", directory))?,
    };
    if found
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    let old = "the kernel does not tell what a mount is; Linux 5.8 or newer does";
    Err(named("look at", directory, &io::Error::other(old)))
}

/// Makes sure that what is mounted below a directory later is seen by others that mount it.
pub(super) fn share(directory: &Path) -> io::Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    if is_shared(&table, &std::fs::canonicalize(directory)?) {
        return Ok(());
    }
    if !is_mount(directory)? {
        mount_bind(directory, directory).map_err(at("mount", directory))?;
    }
    mount_change(directory, MountPropagationFlags::SHARED).map_err(at("share", directory))
}

/// Whether the mount that a directory is on is shared. The last of those that match lies on top.
fn is_shared(table: &str, directory: &Path) -> bool {
    let mut found = (0, false);
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(point) = fields.get(4).map(Path::new) else {
            continue;
        };
        let depth = point.components().count();
        if directory.starts_with(point) && depth >= found.0 {
            let options = fields.iter().skip(6).take_while(|field| **field != "-");
            found = (depth, options.into_iter().any(|o| o.starts_with("shared:")));
        }
    }
    found.1
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn at<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(rustix::io::Errno) -> io::Error + 'a {
    move |error| named(what, path, &error.into())
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot {what} {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
23 22 0:21 / /var/lib/a rw shared:2 master:3 - tmpfs tmpfs rw\n\
24 23 0:22 / /var/lib/a/b rw - tmpfs shared: rw\n\
25 22 0:23 / /var/lib/c rw - tmpfs tmpfs rw\n\
26 25 0:24 / /var/lib/c rw shared:4 - tmpfs tmpfs rw\n";

    #[test]
    fn the_mount_that_a_directory_is_on_decides() {
        let shared = |path: &str| is_shared(TABLE, Path::new(path));
        assert!(shared("/home/x"));
        assert!(shared("/var/lib/a/x"));
        assert!(!shared("/var/lib/a/b/x"));
        assert!(shared("/var/lib/c/x"));
        assert!(shared("/var/lib/abc"));
        assert!(!is_shared("", Path::new("/x")));
    }
}
