//! Puts a service's configs and secrets onto the node's disk, where its container mounts them.
//!
//! They lie below the agent's own directory, which only root may enter, and are gone when their
//! container is removed. Never reads them back, never logs what is in them.

use crate::config::AgentConfig;
use flocker_runtime::MountRequest;
use flocker_types::app::container_name;
use flocker_types::container::FileMount;
use flocker_types::ids::ServiceId;
use flocker_types::task::{Failure, Retry};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Makes the files as the service describes them, and says where to mount them. `fingerprint`
/// names the container: another one has files of its own, so those of one that runs stay as they
/// are.
pub(super) async fn put(
    config: &AgentConfig,
    service: &ServiceId,
    fingerprint: &str,
    files: &[FileMount],
) -> Result<Vec<MountRequest>, Failure> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let directory = directory_of(config, service).join(fingerprint);
    let files = files.to_vec();
    blocking(service, "write", move || put_all(&directory, &files)).await
}

/// Takes away the files of a service's earlier containers, which are gone.
pub(super) async fn keep_only(
    config: &AgentConfig,
    service: &ServiceId,
    fingerprint: &str,
) -> Result<(), Failure> {
    let directory = directory_of(config, service);
    let kept = fingerprint.to_owned();
    blocking(service, "remove", move || {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name() != kept.as_str() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    })
    .await
}

/// Takes away every file of a service.
pub(super) async fn remove(config: &AgentConfig, service: &ServiceId) -> Result<(), Failure> {
    let directory = directory_of(config, service);
    blocking(service, "remove", move || {
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await
}

fn directory_of(config: &AgentConfig, service: &ServiceId) -> PathBuf {
    let files = config.state_dir.join("agent").join("files");
    files.join(container_name(service))
}

async fn blocking<T: Send + 'static>(
    service: &ServiceId,
    verb: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let result = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    result.map_err(|error| Failure {
        message: format!(
            "cannot {verb} the configs and secrets of {service} below the agent's directory: {error}"
        ),
        retry: Retry::MayHelp,
    })
}

fn put_all(directory: &Path, files: &[FileMount]) -> io::Result<Vec<MountRequest>> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut mounts = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let path = directory.join(number.to_string());
        // A container that was made from the same description mounts this very file.
        if !path.exists() {
            put_one(&path, file)?;
        }
        mounts.push(MountRequest {
            source: path,
            target: file.target.clone(),
            read_only: true,
        });
    }
    Ok(mounts)
}

fn put_one(path: &Path, file: &FileMount) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    let text = file.content.reveal();
    let text = text.ok_or_else(|| io::Error::other("control did not send what is in it"))?;
    out.write_all(text.as_bytes())?;
    chown(&unfinished, Some(file.user), Some(file.group))?;
    out.set_permissions(std::fs::Permissions::from_mode(file.mode))?;
    out.sync_all()?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_types::secret::SecretText;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn files_have_their_owner_and_mode_below_a_closed_directory() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a").join("f1");
        let file = FileMount {
            target: "/run/secrets/password".to_owned(),
            content: SecretText::Plain("hunter2".to_owned()),
            mode: 0o440,
            user: 70,
            group: 71,
        };
        for _ in 0..2 {
            let mounts = put_all(&directory, std::slice::from_ref(&file)).unwrap();
            assert_eq!(mounts[0].target, "/run/secrets/password");
            assert!(mounts[0].read_only);
            let path = &mounts[0].source;
            assert_eq!(std::fs::read_to_string(path).unwrap(), "hunter2");
            let about = std::fs::metadata(path).unwrap();
            assert_eq!((about.uid(), about.gid()), (70, 71));
            assert_eq!(about.mode() & 0o7777, 0o440);
        }
        let about = std::fs::metadata(directory.parent().unwrap()).unwrap();
        assert_eq!(about.mode() & 0o777, 0o700);
    }
}
