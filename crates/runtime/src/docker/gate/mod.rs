//! Gates of this node: the program that waits, the places over which volumes are mounted, and what is
//! known of the containers that stand at one.
//!
//! `hold.rs` makes containers with a gate, `release.rs` lets them through; everything else here asks
//! whether a container that the engine calls running waits at one.

mod places;
mod process;
mod tree;

use super::answer::Found;
use crate::runtime_trait::{ContainerRun, MountRequest};
use flocker_types::app::container_name;
use flocker_types::ids::ServiceId;
use places::Places;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tree::Tree;

/// Where the program is in a container.
pub(super) const PROGRAM_TARGET: &str = "/.flocker-gate";

/// The gates of this node; clones are of the same ones.
#[derive(Debug, Clone)]
pub(super) struct Gates {
    home: Arc<PathBuf>,
    /// The program on the node, or why there is none.
    program: Arc<Result<PathBuf, String>>,
    held: Arc<Mutex<HashMap<ServiceId, Held>>>,
}

/// A container that is known to stand at its gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) fingerprint: String,
    /// Its health is checked, and was while it stood there.
    pub(super) checked: bool,
}

/// The gate of a container that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewGate {
    /// The program on the node.
    pub(super) program: PathBuf,
    /// Each place: its directory on the node and its path in the container.
    pub(super) places: Vec<(PathBuf, String)>,
    /// The program's arguments: with the container's own command.
    pub(super) arguments: Vec<String>,
}

impl Gates {
    /// Makes the directory, the program in it, and sure that mounts made in it are seen by containers.
    pub(super) fn open(home: &Path) -> Self {
        let program = prepare(home).map_err(|error| error.to_string());
        if let Err(why) = &program {
            tracing::warn!(%why, "containers cannot be started before their volumes are there");
        }
        // As tables of mounts name it.
        let home = fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
        Self {
            home: Arc::new(home),
            program: Arc::new(program),
            held: Arc::default(),
        }
    }

    fn places(&self, service: &ServiceId) -> Places {
        Places::of(&self.home, &container_name(service))
    }

    /// The gate for a container with volumes at these targets and with this command, and its places,
    /// empty; or why it cannot have one.
    pub(super) fn plan(
        &self,
        service: &ServiceId,
        targets: &[String],
        command: &[String],
    ) -> Result<NewGate, String> {
        let program = self.program.as_ref().clone()?;
        if command.is_empty() {
            return Err("its image has no command".to_owned());
        }
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let trees = tree::trees(&targets).filter(|trees| !trees.is_empty());
        let trees = trees
            .ok_or_else(|| format!("the places of its volumes cannot be made out: {targets:?}"))?;
        let places = self.places(service);
        let made = places.make(trees.len());
        made.map_err(|error| error.to_string())?;
        let suffixes: Vec<String> = (0..trees.len()).map(|n| places.suffix(n)).collect();
        let mounted = trees.iter().enumerate();
        let mounted = mounted.map(|(n, tree)| (places.place(n), targets[tree.outer].to_owned()));
        Ok(NewGate {
            program,
            places: mounted.collect(),
            arguments: flocker_gate::arguments(&suffixes, command),
        })
    }

    /// The container as it stands: one that only its gate runs in does not run for others.
    pub(super) fn as_it_stands(&self, mut found: Found) -> Found {
        if found.gated
            && matches!(found.info.run, ContainerRun::Running { .. })
            && !self.has_passed(&found)
        {
            self.note(&found);
            found.info.run = ContainerRun::AtGate;
        }
        found
    }

    /// It has its volumes, and so it goes, or went, on. When there is a doubt it counts as running.
    fn has_passed(&self, found: &Found) -> bool {
        let covered = self.places(&found.info.service).are_covered();
        covered.unwrap_or_else(|error| {
            tracing::warn!(service = %found.info.service, %error, "cannot look at its gate");
            true
        }) || process::runs_command(found.pid, &found.id)
    }

    /// Whether its gate's process is there.
    pub(super) fn is_at_gate(pid: u32) -> bool {
        process::is_at_gate(pid)
    }

    /// Remembers a container that stands at its gate.
    fn note(&self, found: &Found) {
        let service = found.info.service.clone();
        let mut held = self.lock();
        if held.get(&service).is_some_and(|known| known.id == found.id) {
            return;
        }
        let new = Held {
            id: found.id.clone(),
            pid: found.pid,
            fingerprint: found.info.fingerprint.clone(),
            checked: found.checked,
        };
        held.insert(service, new);
    }

    /// What is known of the service's container at its gate.
    pub(super) fn held(&self, service: &ServiceId) -> Option<Held> {
        self.lock().get(service).cloned()
    }

    /// It will not stand there any more: what happens to it from now on is news.
    pub(super) fn forget(&self, service: &ServiceId) {
        self.lock().remove(service);
    }

    /// Whether a mount that is made at the container's first place now is seen in it.
    pub(super) fn mounts_arrive(&self, service: &ServiceId, pid: u32) -> io::Result<bool> {
        let places = self.places(service);
        places.with_trial(|suffix| process::sees_mount(pid, suffix))
    }

    /// Mounts the volumes, and says whether the container has them.
    pub(super) fn cover(
        &self,
        service: &ServiceId,
        pid: u32,
        volumes: &[MountRequest],
    ) -> io::Result<bool> {
        let places = self.places(service);
        let trees = trees_of(volumes)?;
        if places.numbers()?.len() != trees.len() {
            let other = "it has other volumes than its container was made for";
            return Err(io::Error::other(other));
        }
        for (number, tree) in trees.iter().enumerate() {
            places.cover(number, tree, volumes)?;
        }
        let suffixes: Vec<String> = (0..trees.len()).map(|n| places.suffix(n)).collect();
        Ok(process::sees_covered(
            pid,
            suffixes.iter().map(String::as_str),
        ))
    }

    /// Takes the volumes away from the places of a container that does not run.
    pub(super) fn close(&self, service: &ServiceId) -> io::Result<()> {
        self.places(service).uncover()
    }

    /// Takes the places away of a container that is gone.
    pub(super) fn remove(&self, service: &ServiceId) -> io::Result<()> {
        self.places(service).remove()
    }

    /// Takes the places away of every container but these.
    pub(super) fn keep_only(&self, names: &[String]) {
        let owners = places::owners(&self.home).unwrap_or_default();
        for name in owners.iter().filter(|name| !names.contains(name)) {
            if let Err(error) = Places::of(&self.home, name).remove() {
                tracing::warn!(container = %name, %error, "cannot clear up the gate of a container that is gone");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceId, Held>> {
        // No call in here can leave the map half changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trees_of(volumes: &[MountRequest]) -> io::Result<Vec<Tree>> {
    let targets: Vec<&str> = volumes.iter().map(|v| v.target.as_str()).collect();
    tree::trees(&targets).ok_or_else(|| io::Error::other("the volumes' places cannot be made out"))
}

/// The directory and what is in it; where the program is.
fn prepare(home: &Path) -> io::Result<PathBuf> {
    let bytes = flocker_gate::program()
        .ok_or_else(|| io::Error::other("there is no gate for this kind of processor"))?;
    fs::create_dir_all(home.join("places"))?;
    places::share(&fs::canonicalize(home.join("places"))?)?;
    // Containers go on mounting the program that they were made with: another one has another name.
    let path = home.join(format!("program-{:016x}", fingerprint(bytes)));
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    let unfinished = path.with_extension("new");
    let _absent = fs::remove_file(&unfinished);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&unfinished)?;
    io::Write::write_all(&mut file, bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// FNV-1a, 64 bits: names versions of the program, guards nothing.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
