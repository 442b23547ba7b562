//! A tiny image for tests, made from the machine's static busybox, so that no registry is needed.

use super::{TestEngine, TestEngineError, failed};
use crate::runtime_trait::ImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use std::path::Path;

const BUSYBOX: &str = "/bin/busybox";
/// What tests call in their containers.
const APPLETS: &[&str] = &[
    "cat", "echo", "env", "false", "httpd", "kill", "ls", "nc", "rm", "sh", "sleep", "test",
    "touch", "true", "wget",
];

/// An image that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestImage<'a> {
    /// Its name, without a tag.
    pub repository: &'a str,
    /// Its tag.
    pub tag: &'a str,
    /// Dockerfile instructions: `CMD ["sh"]`, `EXPOSE 80`, `HEALTHCHECK ...`.
    pub instructions: &'a [&'a str],
}

impl TestEngine {
    /// Makes an image from the machine's busybox (package `busybox-static`).
    ///
    /// # Errors
    /// When there is no busybox, or the engine refuses.
    pub async fn make_image(&self, image: TestImage<'_>) -> Result<ImageInfo, TestEngineError> {
        let rootfs = rootfs().map_err(|error| {
            failed(format!(
                "cannot pack {BUSYBOX}: {error}; install the package busybox-static"
            ))
        })?;
        let changes = image.instructions.iter().map(|one| (*one).to_owned());
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(image.repository)
            .tag(image.tag)
            .changes(changes.collect())
            .build();
        let client = self.client().await?;
        let body = bollard::body_full(Bytes::from(rootfs));
        let _messages: Vec<_> = client
            .create_image(Some(options), Some(body), None)
            .try_collect()
            .await
            .map_err(|error| failed(format!("cannot import the test image: {error}")))?;
        let reference = format!("{}:{}", image.repository, image.tag);
        let found = client
            .inspect_image(&reference)
            .await
            .map_err(|error| failed(format!("cannot find the image {reference}: {error}")))?;
        Ok(ImageInfo {
            id: found.id.unwrap_or_default(),
            exposed_ports: Vec::new(),
        })
    }
}

fn rootfs() -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for directory in ["bin", "data", "etc", "tmp", "www"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
    }
    archive.append_path_with_name(Path::new(BUSYBOX), "bin/busybox")?;
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    archive.into_inner()
}
