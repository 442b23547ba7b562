//! A tree of files as an image that `docker load` takes: one layer, a configuration, a manifest.
//!
//! Called by the builder. The same tree and configuration always give the same image id, on every
//! engine, which `docker import` does not.

use super::ImageError;
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Modification time of every file, so that equal trees give equal bytes.
pub(super) const MTIME_S: u64 = 1_700_000_000;

/// How a container of the image starts.
#[derive(Debug, Clone)]
pub(super) struct ImageConfig {
    pub(super) environment: Vec<String>,
    pub(super) entrypoint: Vec<&'static str>,
    pub(super) command: Vec<&'static str>,
    pub(super) directory: &'static str,
    pub(super) port: Option<u16>,
    pub(super) stop_signal: &'static str,
}

/// Writes the image of a tree to a file, and returns its id.
pub(super) fn write(
    root: &Path,
    name: &str,
    config: &ImageConfig,
    to: &Path,
) -> Result<String, ImageError> {
    let layer = to.with_extension("layer");
    let written = File::create(&layer).and_then(|file| write_layer(root, file));
    written.map_err(ImageError::file("write", &layer))?;
    let id = sha256(&layer)
        .and_then(|digest| write_image(&layer, &digest, name, config, to))
        .map_err(ImageError::file("write", to))?;
    fs::remove_file(&layer).map_err(ImageError::file("remove", &layer))?;
    Ok(id)
}

fn write_layer(root: &Path, file: File) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    tar.follow_symlinks(false);
    append(&mut tar, root, Path::new(""))?;
    tar.into_inner()?.flush()
}

fn append(tar: &mut tar::Builder<impl Write>, root: &Path, path: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(path))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let inner = path.join(entry.file_name());
        let metadata = entry.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&metadata);
        header.set_mtime(MTIME_S);
        header.set_uid(0);
        header.set_gid(0);
        if metadata.is_dir() {
            tar.append_data(&mut header, &inner, io::empty())?;
            append(tar, root, &inner)?;
        } else if metadata.is_symlink() {
            header.set_size(0);
            tar.append_link(&mut header, &inner, fs::read_link(entry.path())?)?;
        } else {
            tar.append_data(&mut header, &inner, File::open(entry.path())?)?;
        }
    }
    Ok(())
}

fn write_image(
    layer: &Path,
    layer_digest: &str,
    name: &str,
    config: &ImageConfig,
    to: &Path,
) -> io::Result<String> {
    let configuration = serde_json::to_vec(&configuration(layer_digest, config))?;
    let id = hex(ring::digest::digest(&SHA256, &configuration).as_ref());
    let manifest = json!([{
        "Config": format!("{id}.json"),
        "RepoTags": [name],
        "Layers": [format!("{layer_digest}/layer.tar")],
    }]);
    let mut tar = tar::Builder::new(io::BufWriter::new(File::create(to)?));
    for (path, bytes) in [
        (format!("{id}.json"), configuration),
        ("manifest.json".to_owned(), serde_json::to_vec(&manifest)?),
    ] {
        let mut header = plain_header(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        tar.append_data(&mut header, path, bytes.as_slice())?;
    }
    let mut header = plain_header(fs::metadata(layer)?.len());
    let path = format!("{layer_digest}/layer.tar");
    tar.append_data(&mut header, path, File::open(layer)?)?;
    tar.into_inner()?.flush()?;
    Ok(format!("sha256:{id}"))
}

fn plain_header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(MTIME_S);
    header
}

fn configuration(layer_digest: &str, config: &ImageConfig) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let ports: serde_json::Map<String, Value> = config
        .port
        .map(|port| (format!("{port}/tcp"), json!({})))
        .into_iter()
        .collect();
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {
            "Env": config.environment,
            "Entrypoint": config.entrypoint,
            "Cmd": config.command,
            "WorkingDir": config.directory,
            "ExposedPorts": ports,
            "StopSignal": config.stop_signal,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created_by": "flocker-testkit, from the distribution's packages" }],
    })
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(context.finish().as_ref())),
            count => context.update(&buffer[..count]),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_trees_give_equal_images() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/motd"), "hello").unwrap();
        std::os::unix::fs::symlink("motd", root.join("etc/link")).unwrap();
        let config = ImageConfig {
            environment: vec!["A=1".to_owned()],
            entrypoint: vec![],
            command: vec!["sh"],
            directory: "/",
            port: Some(80),
            stop_signal: "SIGTERM",
        };
        let make = |name: &str| {
            let to = directory.path().join(name);
            (
                write(&root, "x:1", &config, &to).unwrap(),
                fs::read(to).unwrap(),
            )
        };
        assert_eq!(make("a.tar"), make("b.tar"));
        let (id, _) = make("c.tar");
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        fs::write(root.join("etc/motd"), "other").unwrap();
        assert_ne!(make("d.tar").0, id);
    }
}
