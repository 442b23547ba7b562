//! Tests of the table of mounts: tables as kernels write them.

use super::table::{Place, contains, place};

/// A container at its gate: overlay root, proc, two places, one of them with a space in its path.
const AT_GATE: &str = "\
612 560 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d\n\
613 612 0:63 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
620 612 254:0 /var/lib/flocker/agent/gates/places/flocker--shop--db/0 /data rw,relatime master:7 - ext4 /dev/vda rw\n\
621 612 254:0 /var/lib/flocker/agent/gates/places/flocker--shop--db/1 /srv/a\\040b rw,relatime master:7 - ext4 /dev/vda rw\n\
622 612 254:0 /var/lib/flocker/agent/gates/places/flocker--shop--db/10 /ten rw,relatime master:7 - ext4 /dev/vda rw\n";

const FIRST: &[u8] = b"/flocker--shop--db/0";
const SECOND: &[u8] = b"/flocker--shop--db/1";

#[test]
fn places_are_found_by_the_end_of_their_directory() {
    let table = AT_GATE.as_bytes();
    assert_eq!(
        place(table, FIRST),
        Place::Empty {
            mount_point: b"/data"
        }
    );
    assert_eq!(
        place(table, SECOND),
        Place::Empty {
            mount_point: b"/srv/a\\040b"
        }
    );
    assert_eq!(place(table, b"/flocker--shop--other/0"), Place::Missing);
    assert_eq!(place(b"", FIRST), Place::Missing);
    assert_eq!(place(b"garbage\n1 2\n", FIRST), Place::Missing);
}

#[test]
fn only_a_mount_on_the_place_itself_covers_it() {
    let with = |line: &str| format!("{AT_GATE}{line}\n");
    let volume =
        with("700 620 0:70 /volumes/v/live /data rw,noatime master:9 - btrfs /dev/loop0 rw");
    assert_eq!(
        place(volume.as_bytes(), FIRST),
        Place::Covered {
            mount_point: b"/data"
        }
    );
    assert!(matches!(
        place(volume.as_bytes(), SECOND),
        Place::Empty { .. }
    ));
    let below = with("701 620 0:70 / /data/sub rw - btrfs /dev/loop0 rw");
    assert!(matches!(
        place(below.as_bytes(), FIRST),
        Place::Empty { .. }
    ));
    let elsewhere = with("702 612 0:70 / /data rw - btrfs /dev/loop0 rw");
    assert!(matches!(
        place(elsewhere.as_bytes(), FIRST),
        Place::Empty { .. }
    ));
}

#[test]
fn a_path_is_compared_with_what_the_table_means() {
    assert!(contains(b"/data", b"/data"));
    assert!(contains(b"/data", b"/data/sub/deeper"));
    assert!(contains(b"/srv/a\\040b", b"/srv/a b/x"));
    assert!(contains(b"/odd\\134040", b"/odd\\040"));
    assert!(contains(b"/", b"/anything"));
    assert!(!contains(b"/data", b"/database"));
    assert!(!contains(b"/data/sub", b"/data"));
    assert!(!contains(b"/srv/a\\040b", b"/srv/a"));
    assert!(!contains(b"/x", b""));
}
