//! Filling a new volume with what its image has at the same place, as Docker does with its own volumes:
//! images rely on it for directories of the right owner, and for files to begin with.
//!
//! The files come out of a container that is made for it and never runs. Whether a volume is new
//! is the caller's question; one that has files already is left alone here, too.

use super::Docker;
use super::containers::Running;
use super::engine::{CHANGE_MS_MAX, limited};
use super::errors::failed;
use super::hold::blocking;
use super::labels::LABEL_FILL;
use super::unpack::{self, Piece};
use crate::runtime_trait::{RuntimeError, RuntimeErrorKind};
use bollard::errors::Error as ClientError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptionsBuilder, ListContainersOptionsBuilder,
};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::path::Path;
use tokio::sync::mpsc;

/// The engine packs as it sends; when nothing comes for so long it has failed.
const SILENCE_MS_MAX: u64 = 60_000;
/// Pieces of the archive that wait for the disk.
const PIECES_QUEUED_MAX: usize = 16;

impl Docker {
    /// Gives an empty directory what the image has at `path`: files, owners, modes. Nothing happens when the
    /// image has no directory there. What an earlier call left half done is done anew.
    pub(super) async fn fill_directory(
        &self,
        image_id: &str,
        path: &str,
        directory: &Path,
    ) -> Result<(), RuntimeError> {
        let action = format!("fill {} with the image's {path}", directory.display());
        let to_disk =
            |error: std::io::Error| failed(&action, RuntimeErrorKind::Other(error.to_string()));
        let empty = directory.to_owned();
        if !blocking(move || unpack::is_to_be_filled(&empty))
            .await
            .map_err(to_disk)?
        {
            return Ok(());
        }
        let container = self.create_unstarted(&action, image_id).await?;
        let filled = self.copy_out(&action, &container, path, directory).await;
        // Left behind, it is taken away when the agent is started again.
        let removed = self
            .remove_by_id(&action, &container, Running::Refuse)
            .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "a container that was made to look into an image is left");
        }
        filled
    }

    /// A container that will never run.
    async fn create_unstarted(&self, action: &str, image_id: &str) -> Result<String, RuntimeError> {
        let body = ContainerCreateBody {
            image: Some(image_id.to_owned()),
            // Images without a command of their own make no container without one.
            cmd: Some(vec!["never-run".to_owned()]),
            labels: Some(HashMap::from([(
                LABEL_FILL.to_owned(),
                self.cluster.to_string(),
            )])),
            ..ContainerCreateBody::default()
        };
        let client = self.engine.client();
        let request = client.create_container(None::<CreateContainerOptions>, body);
        let created = self.engine.call(action, CHANGE_MS_MAX, request).await?;
        Ok(created.id)
    }

    async fn copy_out(
        &self,
        action: &str,
        container: &str,
        path: &str,
        directory: &Path,
    ) -> Result<(), RuntimeError> {
        // With a dot the engine follows a link, and refuses what is no directory.
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(&format!("{path}/."))
            .build();
        let client = self.engine.client();
        let mut pieces = Box::pin(client.download_from_container(container, Some(options)));
        let (sender, receiver) = mpsc::channel(PIECES_QUEUED_MAX);
        let into = directory.to_owned();
        let unpacking = tokio::task::spawn_blocking(move || unpack::unpack(receiver, &into));
        let sent = async {
            loop {
                let next = limited(action, SILENCE_MS_MAX, "the image's files", pieces.next());
                let piece = match next.await? {
                    Some(Ok(bytes)) => Piece::Bytes(bytes),
                    Some(Err(error)) if has_no_directory(&error) => return Ok(false),
                    Some(Err(error)) => return Err(self.engine.error(action, error)),
                    None => Piece::End,
                };
                let is_last = matches!(piece, Piece::End);
                // When nobody takes it any more, why shows below.
                if sender.send(piece).await.is_err() || is_last {
                    return Ok(true);
                }
            }
        };
        let sent = sent.await;
        // Whatever came of it: nothing works in the volume any more when this returns.
        drop(sender);
        let unpacked = unpacking
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        match sent? {
            false => Ok(()),
            true => {
                unpacked.map_err(|error| failed(action, RuntimeErrorKind::Other(error.to_string())))
            }
        }
    }

    /// Takes away what a process that crashed has left of this.
    pub(super) async fn forget_fills(&self) -> Result<(), RuntimeError> {
        let action = "look for containers that were made to look into images";
        let label = format!("{LABEL_FILL}={}", self.cluster);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&HashMap::from([("label".to_owned(), vec![label])]))
            .build();
        let request = self.engine.client().list_containers(Some(options));
        let left = self.engine.call(action, CHANGE_MS_MAX, request).await?;
        for id in left.into_iter().filter_map(|container| container.id) {
            self.remove_by_id(action, &id, Running::Refuse).await?;
        }
        Ok(())
    }
}

/// Whether an error says that the image has no directory there. (Engines answer 500 for a file.)
fn has_no_directory(error: &ClientError) -> bool {
    match error {
        ClientError::DockerResponseServerError {
            status_code: 400 | 404,
            ..
        } => true,
        ClientError::DockerResponseServerError { message, .. } => {
            message.contains("not a directory")
        }
        _ => false,
    }
}
