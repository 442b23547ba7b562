//! The distribution's packages, unpacked into a directory without being installed.
//!
//! Called by the recipes. Runs no package's scripts and changes nothing on the machine, but for the
//! package lists (`apt-get update`) when there are none.

use super::ImageError;
use crate::tool::Tool;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

const APT_LIMIT: Duration = Duration::from_secs(180);
const UNPACK_LIMIT: Duration = Duration::from_secs(60);
/// Libraries that are big and that nothing we take needs.
const NEVER: [&str; 6] = [
    "libllvm",
    "libz3-",
    "libperl",
    "libelogind",
    "libpam-modules",
    "libdb5",
];

/// Unpacks packages, and the libraries that they depend on, below `stage`.
pub(super) async fn unpack(packages: &[&str], stage: &Path) -> Result<(), ImageError> {
    let names = match with_libraries(packages).await? {
        names if has_all(&names, packages) => names,
        _ => {
            Tool::words("apt-get update -q")
                .limit(APT_LIMIT)
                .run()
                .await?;
            with_libraries(packages).await?
        }
    };
    if !has_all(&names, packages) {
        return Err(ImageError::Missing {
            what: packages.join(", "),
            packages: "(apt knows of no such package)".to_owned(),
        });
    }
    let downloads = stage.with_extension("debs");
    for directory in [stage, &downloads] {
        fs::create_dir_all(directory).map_err(ImageError::file("make", directory))?;
    }
    Tool::words("apt-get -q -o APT::Sandbox::User=root download")
        .args(&names)
        .directory(&downloads)
        .limit(APT_LIMIT)
        .run()
        .await?;
    merge_usr(stage)?;
    let listed = fs::read_dir(&downloads).map_err(ImageError::file("read", &downloads))?;
    for package in listed.flatten() {
        unpack_one(&package.path(), stage).await?;
    }
    fs::remove_dir_all(&downloads).map_err(ImageError::file("remove", &downloads))
}

/// `dpkg-deb -x` would put a directory in the place of a link that we made; `tar` can be told not to.
async fn unpack_one(package: &Path, stage: &Path) -> Result<(), ImageError> {
    let files = Tool::words("dpkg-deb --fsys-tarfile")
        .arg(package)
        .limit(UNPACK_LIMIT);
    let files = files.run_bytes().await?;
    Tool::words("tar -x --keep-directory-symlink --no-same-owner -C")
        .arg(stage)
        .input(files)
        .limit(UNPACK_LIMIT)
        .run()
        .await?;
    Ok(())
}

fn has_all(names: &BTreeSet<String>, packages: &[&str]) -> bool {
    packages.iter().all(|package| names.contains(*package))
}

/// The packages that apt knows of these, with the libraries among their dependencies.
async fn with_libraries(packages: &[&str]) -> Result<BTreeSet<String>, ImageError> {
    let listed = Tool::words(
        "apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
         --no-replaces --no-enhances",
    )
    .args(packages)
    .output()
    .await?;
    Ok(choose(&String::from_utf8_lossy(&listed.stdout), packages))
}

/// Picks from `apt-cache depends` what was asked for and plain libraries.
fn choose(listed: &str, packages: &[&str]) -> BTreeSet<String> {
    listed
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()))
        .filter(|name| {
            let is_library = (name.starts_with("lib") || name.starts_with("zlib"))
                && !name.ends_with("-perl")
                && !name.contains(':')
                && !NEVER.iter().any(|never| name.starts_with(never));
            is_library || packages.contains(name)
        })
        .map(str::to_owned)
        .collect()
}

/// Today's distributions have `/bin`, `/lib` ... as links into `/usr`; some packages still name the
/// old places.
fn merge_usr(stage: &Path) -> Result<(), ImageError> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let target = stage.join("usr").join(name);
        fs::create_dir_all(&target).map_err(ImageError::file("make", &target))?;
        let link = stage.join(name);
        symlink(Path::new("usr").join(name), &link).map_err(ImageError::file("link", &link))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_plain_libraries_are_chosen() {
        let listed = "postgresql-15\n  Depends: libc6\n  Depends: perl\nlibc6\nperl\n<debconf>\n\
                      libllvm14\nlibjson-perl\nlibssl3\nzlib1g\npython3:any\nlibfoo:any\n";
        let chosen = choose(listed, &["postgresql-15"]);
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        assert_eq!(chosen, ["libc6", "libssl3", "postgresql-15", "zlib1g"]);
    }
}
