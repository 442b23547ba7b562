//! Files for tests: trees with everything that a filesystem can hold, changes of every kind, and a
//! description of a tree in which every difference shows.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

/// Size of the largest file of a populated directory.
const LARGE_BYTES: usize = 12 << 20;

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Fills an empty directory.
///
/// # Errors
/// The filesystem's.
pub fn populate(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("dir/deep/er"))?;
    fs::write(root.join("small"), "a few bytes\n")?;
    fs::write(root.join("empty"), "")?;
    fs::write(root.join("large"), noise(1, LARGE_BYTES))?;
    fs::write(root.join("dir/database"), noise(2, 1 << 20))?;
    fs::write(root.join("dir/deep/er/leaf"), "leaf")?;
    fs::write(root.join("name with spaces, ümlaut and \n newline"), "odd")?;
    fs::hard_link(root.join("small"), root.join("dir/small too"))?;
    symlink("dir/deep", root.join("link"))?;
    symlink("/nowhere/at/all", root.join("dangling"))?;
    make_fifo(&root.join("fifo"))?;
    let mut sparse = File::create(root.join("sparse"))?;
    sparse.seek(SeekFrom::Start(8 << 20))?;
    sparse.write_all(b"after a hole")?;
    fs::set_permissions(root.join("small"), Permissions::from_mode(0o640))?;
    fs::set_permissions(root.join("dir/deep"), Permissions::from_mode(0o1777))?;
    chown(root.join("dir/database"), Some(70), Some(71))?;
    Ok(())
}

/// Changes a populated directory in every way there is; `round` makes each time different.
///
/// # Errors
/// The filesystem's.
pub fn change(root: &Path, round: u64) -> io::Result<()> {
    let mut database = File::options()
        .write(true)
        .open(root.join("dir/database"))?;
    for page in 0..8 {
        database.seek(SeekFrom::Start((page * 97 + round) % 250 * 4096))?;
        database.write_all(&noise(1000 * round + page, 4096))?;
    }
    let mut large = File::options().append(true).open(root.join("large"))?;
    large.write_all(&noise(round, 5000))?;
    large.set_len(12_000_000 + round * 777)?;
    let new = root.join(format!("new-{round}"));
    fs::create_dir(&new)?;
    fs::write(new.join("file"), noise(round + 50, 40_000))?;
    fs::hard_link(new.join("file"), root.join(format!("linked-{round}")))?;
    symlink("file", new.join("link"))?;
    make_fifo(&new.join("fifo"))?;
    fs::rename(root.join("dir"), root.join("swap"))?;
    fs::create_dir(root.join("dir"))?;
    fs::rename(root.join("swap/deep"), root.join("dir/deep"))?;
    fs::rename(root.join("swap/database"), root.join("dir/database"))?;
    fs::remove_dir_all(root.join("swap"))?;
    fs::write(root.join("small"), format!("rewritten in round {round}\n"))?;
    fs::remove_file(root.join("empty"))?;
    fs::write(
        root.join("empty"),
        vec![0; usize::try_from(round % 7).unwrap_or(0)],
    )?;
    let mode = 0o600 + u32::try_from(round % 0o70).unwrap_or(0);
    fs::set_permissions(root.join("small"), Permissions::from_mode(mode))?;
    chown(
        root.join("large"),
        Some(1000),
        Some(u32::try_from(round).unwrap_or(0)),
    )?;
    if round > 1 {
        let old = root.join(format!("new-{}", round - 1));
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    Ok(())
}

fn make_fifo(path: &Path) -> io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    Ok(rustix::fs::mkfifoat(rustix::fs::CWD, path, mode)?)
}

/// Describes every entry below a directory: kind, mode, owner, links, size, time and content.
///
/// # Errors
/// The filesystem's.
pub fn describe(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut entries = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).unwrap_or(&path);
            let metadata = fs::symlink_metadata(&path)?;
            entries.insert(name.display().to_string(), describe_one(&path, &metadata)?);
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(entries)
}

fn describe_one(path: &Path, metadata: &fs::Metadata) -> io::Result<String> {
    let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        let hash = blake3::hash(&fs::read(path)?).to_hex();
        let (size, links) = (metadata.size(), metadata.nlink());
        format!("file {size} bytes {links} links {hash}")
    } else if kind.is_symlink() {
        format!("link to {}", fs::read_link(path)?.display())
    } else if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        "other".to_owned()
    };
    let modified = match kind.is_dir() || kind.is_symlink() {
        true => String::new(),
        false => format!("{}.{}", metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(format!(
        "{content} mode {mode:o} owner {uid}:{gid} {modified}"
    ))
}
