//! The files of an image: a small tree, with just what is asked for out of unpacked packages and the
//! libraries that it needs, as the packages' own loader finds them.
//!
//! Called by the recipes. Works below the two directories that it is given and nowhere else.

use super::ImageError;
use crate::tool::{Tool, ToolError};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A tree being put together out of `stage`.
#[derive(Debug)]
pub(super) struct Rootfs {
    stage: PathBuf,
    root: PathBuf,
    /// Programs and shared objects in the tree whose libraries are still to be found.
    linked: BTreeSet<String>,
}

impl Rootfs {
    /// An empty tree with the directories that every container has.
    pub(super) fn new(stage: PathBuf, root: PathBuf) -> Result<Self, ImageError> {
        for name in [
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64",
            "etc",
            "tmp",
            "var",
            "run",
        ] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(ImageError::file("make", &path))?;
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            let link = root.join(name);
            symlink(Path::new("usr").join(name), &link).map_err(ImageError::file("link", &link))?;
        }
        let run = root.join("var/run");
        symlink("/run", &run).map_err(ImageError::file("link", &run))?;
        set_mode(&root.join("tmp"), 0o1777)?;
        Ok(Self {
            stage,
            root,
            linked: BTreeSet::new(),
        })
    }

    /// Where the tree is.
    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    /// Whether the packages have this file.
    pub(super) fn is_staged(&self, path: &str) -> bool {
        below(&self.stage, path).exists()
    }

    /// Writes a file of our own.
    pub(super) fn write(&self, path: &str, text: &str, mode: u32) -> Result<(), ImageError> {
        let to = below(&self.root, path);
        make_parent(&to)?;
        fs::write(&to, text).map_err(ImageError::file("write", &to))?;
        set_mode(&to, mode)
    }

    /// Makes a directory that everybody may write to, as those are that a container's own user
    /// keeps data in.
    pub(super) fn make_open_directory(&self, path: &str) -> Result<(), ImageError> {
        let to = below(&self.root, path);
        fs::create_dir_all(&to).map_err(ImageError::file("make", &to))?;
        set_mode(&to, 0o1777)
    }

    /// Makes a symbolic link.
    pub(super) fn link(&self, path: &str, target: &str) -> Result<(), ImageError> {
        let link = below(&self.root, path);
        make_parent(&link)?;
        symlink(target, &link).map_err(ImageError::file("link", &link))
    }

    /// Takes a program or shared object, links followed, with its libraries.
    pub(super) fn take_program(&mut self, path: &str) -> Result<(), ImageError> {
        self.take_file(path)?;
        self.linked.insert(path.to_owned());
        Ok(())
    }

    /// Takes one file, links followed.
    pub(super) fn take_file(&self, path: &str) -> Result<(), ImageError> {
        let from = self.real_path(path)?;
        let to = below(&self.root, path);
        make_parent(&to)?;
        fs::copy(&from, &to).map_err(ImageError::file("copy", &from))?;
        Ok(())
    }

    /// Follows links as they are seen from inside the stage: absolute ones begin there.
    fn real_path(&self, path: &str) -> Result<PathBuf, ImageError> {
        const LINKS_MAX: usize = 16;
        let mut at = below(&self.stage, path);
        for _ in 0..LINKS_MAX {
            let Ok(target) = fs::read_link(&at) else {
                return Ok(at);
            };
            at = match target.strip_prefix("/") {
                Ok(inside) => self.stage.join(inside),
                Err(_relative) => at.parent().unwrap_or(&self.stage).join(target),
            };
        }
        Err(ImageError::File {
            doing: "follow the links of",
            path: at,
            source: std::io::Error::other("too many links"),
        })
    }

    /// Takes a directory with what is in it, but for the entries named. Shared objects get their
    /// libraries too.
    pub(super) fn take_tree(&mut self, path: &str, without: &[&str]) -> Result<(), ImageError> {
        let from = below(&self.stage, path);
        let entries = fs::read_dir(&from).map_err(ImageError::file("read", &from))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if without.contains(&name.as_str()) {
                continue;
            }
            let inner = format!("{path}/{name}");
            let kind = entry.file_type().map_err(ImageError::file("read", &from))?;
            if kind.is_dir() {
                self.take_tree(&inner, without)?;
            } else if self.real_path(&inner)?.is_file() {
                if name.contains(".so") {
                    self.take_program(&inner)?;
                } else {
                    self.take_file(&inner)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the libraries of everything taken. A shared object whose libraries the packages do not
    /// have is left out; a program like that is an error.
    pub(super) async fn resolve_libraries(&mut self) -> Result<(), ImageError> {
        let loader = self.loader()?;
        self.take_file(&loader)?;
        for path in std::mem::take(&mut self.linked) {
            let list = Tool::new("chroot")
                .arg(&self.stage)
                .args([&loader, "--list", &path]);
            let listed = list.output().await?;
            let text = String::from_utf8_lossy(&listed.stdout).into_owned();
            if text.contains("not found") || !listed.status.success() {
                if path.contains(".so") {
                    let dropped = below(&self.root, &path);
                    fs::remove_file(&dropped).map_err(ImageError::file("remove", &dropped))?;
                    continue;
                }
                return Err(ImageError::Tool(ToolError::Failed {
                    command: list.line(),
                    status: listed.status,
                    stderr: text,
                }));
            }
            for library in libraries(&text) {
                if !below(&self.root, library).exists() {
                    self.take_file(library)?;
                }
            }
        }
        Ok(())
    }

    /// The packages' program loader, which every dynamic program names by this path.
    fn loader(&self) -> Result<String, ImageError> {
        for directory in ["/lib64", "/lib"] {
            let path = below(&self.stage, directory);
            let entries = fs::read_dir(&path).map_err(ImageError::file("read", &path))?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("ld-linux") {
                    return Ok(format!("{directory}/{name}"));
                }
            }
        }
        Err(ImageError::Missing {
            what: "the program loader".to_owned(),
            packages: "libc6".to_owned(),
        })
    }
}

/// The paths in the loader's list: `libm.so.6 => /lib/.../libm.so.6 (0x...)`.
fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed
        .lines()
        .filter_map(|line| line.split_once("=> "))
        .filter_map(|(_, found)| found.split_whitespace().next())
        .filter(|path| path.starts_with('/'))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn make_parent(path: &Path) -> Result<(), ImageError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(ImageError::file("make", parent))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(ImageError::file("set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_loaders_list() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(libraries(listed).collect::<Vec<_>>(), ["/lib/x/libm.so.6"]);
    }
}
