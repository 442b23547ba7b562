//! Reads a table of mounts (`/proc/PID/mountinfo`) for one question: has every place been covered by
//! what was to be mounted there? Pure; the program asks it, so it needs neither a heap nor `std`.

/// What the table says about one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// There is no mount of this place. Nothing can be waited for.
    Missing,
    /// The place is mounted and nothing lies on it.
    Empty {
        /// Where, as the table writes it.
        mount_point: &'a [u8],
    },
    /// Something was mounted on it.
    Covered {
        /// Where, as the table writes it.
        mount_point: &'a [u8],
    },
}

/// The fields of a line that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mount<'a> {
    id: &'a [u8],
    parent: &'a [u8],
    root: &'a [u8],
    mount_point: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (id, parent) = (fields.next()?, fields.next()?);
    let _device = fields.next()?;
    Some(Mount {
        id,
        parent,
        root: fields.next()?,
        mount_point: fields.next()?,
    })
}

fn mounts(table: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    table.split(|byte| *byte == b'\n').filter_map(parse)
}

/// What lies at the place whose directory on the node ends in `suffix`. A mount of anything covers
/// it: nobody but the agent can make one there.
pub fn place<'a>(table: &'a [u8], suffix: &[u8]) -> Place<'a> {
    let Some(found) = mounts(table).find(|mount| mount.root.ends_with(suffix)) else {
        return Place::Missing;
    };
    let mount_point = found.mount_point;
    let covers = |mount: Mount<'_>| mount.parent == found.id && mount.mount_point == mount_point;
    if mounts(table).any(covers) {
        Place::Covered { mount_point }
    } else {
        Place::Empty { mount_point }
    }
}

/// Whether `path` is the mount point or lies below it. The table writes spaces, tabs, newlines and
/// backslashes as a backslash and three octal digits.
pub fn contains(mount_point: &[u8], path: &[u8]) -> bool {
    let mut written = mount_point;
    let mut rest = path;
    loop {
        let Some((byte, after)) = first_byte(written) else {
            return rest.is_empty() || rest.first() == Some(&b'/') || mount_point == b"/";
        };
        if rest.first() != Some(&byte) {
            return false;
        }
        written = after;
        rest = rest.get(1..).unwrap_or_default();
    }
}

/// The first byte that was meant, and what follows.
fn first_byte(written: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |index: usize| {
        written
            .get(index)
            .filter(|byte| (b'0'..=b'7').contains(*byte))
    };
    let first = *written.first()?;
    if first == b'\\'
        && let (Some(a), Some(b), Some(c)) = (digit(1), digit(2), digit(3))
    {
        let value = (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0');
        return Some((value, written.get(4..).unwrap_or_default()));
    }
    Some((first, written.get(1..).unwrap_or_default()))
}
