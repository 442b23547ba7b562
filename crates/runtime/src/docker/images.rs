//! Images: looking one up, pulling it, and sending it from node to node as a stream that is never
//! held in memory.

use super::Docker;
use super::answer::read_image;
use super::engine::{QUERY_MS_MAX, limited};
use super::errors::failed;
use super::pull_progress::PullProgress;
use crate::runtime_trait::{ImageInfo, RuntimeError, RuntimeErrorKind};
use bollard::errors::Error as ClientError;
use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio_util::io::{ReaderStream, StreamReader};

/// A pull that hears nothing from the engine for so long has failed.
const PULL_SILENCE_MS_MAX: u64 = 20_000;
/// After the last byte of an image's layer the engine unpacks it without a word.
const UNPACK_SILENCE_MS_MAX: u64 = 600_000;
/// An export must begin within this time: the engine packs as it sends.
const EXPORT_BEGIN_MS_MAX: u64 = 60_000;
/// An import whose stream stands still for so long has failed.
const IMPORT_SILENCE_MS_MAX: u64 = 120_000;
/// Bytes handed to the engine at a time.
const IMPORT_CHUNK_BYTES: usize = 128 * 1024;

impl Docker {
    /// The image, if the engine has it.
    pub(super) async fn find_image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let action = format!("look for the image {image}");
        let found = self.look_at_image(image, &action).await?;
        Ok(found.map(read_image))
    }

    pub(super) async fn look_at_image(
        &self,
        image: &str,
        action: &str,
    ) -> Result<Option<ImageInspect>, RuntimeError> {
        let request = async {
            match self.engine.client().inspect_image(image).await {
                Ok(found) => Ok(Some(found)),
                Err(ClientError::DockerResponseServerError {
                    status_code: 404, ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.engine.call(action, QUERY_MS_MAX, request).await
    }

    /// Pulls it. Any failure but a dead engine means that the image cannot be had now.
    pub(super) async fn pull_image(
        &self,
        image: &str,
        progress: watch::Sender<u64>,
    ) -> Result<ImageInfo, RuntimeError> {
        let action = format!("pull the image {image}");
        let no_image = |reason: String| {
            let image = image.to_owned();
            failed(&action, RuntimeErrorKind::NoImage { image, reason })
        };
        if is_image_id(image) {
            return Err(no_image(
                "it is an image id; no registry can be asked for that".to_owned(),
            ));
        }
        let options = CreateImageOptionsBuilder::new()
            .from_image(&with_tag(image))
            .build();
        let client = self.engine.client();
        let mut messages = client.create_image(Some(options), None, None);
        let mut received = PullProgress::default();
        let mut silence_ms_max = PULL_SILENCE_MS_MAX;
        loop {
            let next = limited(&action, silence_ms_max, "the registry", messages.next());
            match next.await? {
                None => break,
                Some(Ok(message)) => {
                    silence_ms_max = if is_unpacking(message.status.as_deref()) {
                        UNPACK_SILENCE_MS_MAX
                    } else {
                        PULL_SILENCE_MS_MAX
                    };
                    progress.send_replace(received.take(&message));
                }
                Some(Err(
                    ClientError::DockerStreamError { error: message }
                    | ClientError::DockerResponseServerError { message, .. },
                )) => return Err(no_image(message)),
                Some(Err(error)) => return Err(self.engine.error(&action, error)),
            }
        }
        self.find_image(image)
            .await?
            .ok_or_else(|| no_image("the engine does not have it after pulling it".to_owned()))
    }

    /// The image as a tar stream, under all its tags.
    pub(super) async fn save_image(
        &self,
        image: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, RuntimeError> {
        let action = format!("export the image {image}");
        let Some(found) = self.look_at_image(image, &action).await? else {
            let (image, reason) = (image.to_owned(), "the engine does not have it".to_owned());
            return Err(failed(action, RuntimeErrorKind::NoImage { image, reason }));
        };
        let tags = found.repo_tags.unwrap_or_default();
        let names: Vec<&str> = if tags.is_empty() {
            vec![image]
        } else {
            tags.iter().map(String::as_str).collect()
        };
        let chunks = Box::pin(self.engine.client().export_images(&names)).peekable();
        let mut chunks = Box::pin(chunks);
        // An error at the start becomes this call's error; one in the middle, the reader's.
        let first = chunks.as_mut().peek();
        let began = limited(&action, EXPORT_BEGIN_MS_MAX, "the image's data", first).await?;
        if let Some(Err(_)) = began {
            let error = chunks.next().await.and_then(Result::err);
            return Err(match error {
                Some(error) => self.engine.error(&action, error),
                None => self.engine.gone(&action, "it sent nothing"),
            });
        }
        let reader = StreamReader::new(chunks.map_err(io::Error::other));
        Ok(Box::new(reader))
    }

    /// Loads a tar stream. A stream that breaks off is an error, and loads nothing of what is missing.
    pub(super) async fn load_image(
        &self,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<(), RuntimeError> {
        let action = "import an image";
        let sent_bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent_bytes);
        let chunks =
            ReaderStream::with_capacity(tar, IMPORT_CHUNK_BYTES).inspect_ok(move |chunk| {
                let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                counter.fetch_add(bytes, Ordering::Relaxed);
            });
        let options = ImportImageOptionsBuilder::new().quiet(false).build();
        let client = self.engine.client();
        let mut messages = client.import_image_stream(options, chunks, None);
        let mut seen_bytes = 0;
        loop {
            let next = limited(action, IMPORT_SILENCE_MS_MAX, "the import", messages.next());
            match next.await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(self.engine.error(action, error)),
                Err(silence) => {
                    // Silence of the engine is fine while it still takes bytes.
                    let now_bytes = sent_bytes.load(Ordering::Relaxed);
                    if now_bytes == seen_bytes {
                        return Err(silence);
                    }
                    seen_bytes = now_bytes;
                }
            }
        }
    }
}

fn is_unpacking(status: Option<&str>) -> bool {
    matches!(
        status,
        Some("Extracting" | "Download complete" | "Verifying Checksum")
    )
}

fn is_image_id(image: &str) -> bool {
    image.starts_with("sha256:")
}

/// The reference with a tag or digest: without one the engine would pull every tag there is.
fn with_tag(image: &str) -> String {
    let last_part = image.rsplit('/').next().unwrap_or(image);
    if last_part.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_means_latest() {
        for (given, asked) in [
            ("redis", "redis:latest"),
            ("redis:7", "redis:7"),
            ("host:5000/a/redis", "host:5000/a/redis:latest"),
            ("host:5000/redis:7", "host:5000/redis:7"),
            ("redis@sha256:abc", "redis@sha256:abc"),
        ] {
            assert_eq!(with_tag(given), asked);
        }
    }
}
