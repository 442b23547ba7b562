//! btrfs send streams as no kernel would write them, for tests: each command is put together by hand.
//!
//! The format is that of the kernel's `fs/btrfs/send.h`, version 1: a header, then commands of
//! attributes, each command with a CRC-32C.

use uuid::Uuid;

const CRC_OFFSET: usize = 6;

/// A stream under construction.
pub(super) struct HostileStream(Vec<u8>);

#[derive(Clone, Copy)]
struct Attribute(u16);

const UUID: Attribute = Attribute(1);
const CTRANSID: Attribute = Attribute(2);
const MODE: Attribute = Attribute(5);
const RDEV: Attribute = Attribute(8);
const INO: Attribute = Attribute(3);
const PATH: Attribute = Attribute(15);
const PATH_TO: Attribute = Attribute(16);
const PATH_LINK: Attribute = Attribute(17);
const OFFSET: Attribute = Attribute(18);
const DATA: Attribute = Attribute(19);
const CLONE_UUID: Attribute = Attribute(20);
const CLONE_CTRANSID: Attribute = Attribute(21);
const CLONE_PATH: Attribute = Attribute(22);
const CLONE_OFFSET: Attribute = Attribute(23);
const CLONE_LENGTH: Attribute = Attribute(24);

impl HostileStream {
    /// Begins with a new subvolume of this name.
    pub(super) fn of_subvolume(name: &str) -> Self {
        let mut stream = Self(b"btrfs-stream\0\x01\0\0\0".to_vec());
        stream.subvolume(name);
        stream
    }

    /// Begins with a snapshot of another subvolume.
    pub(super) fn of_snapshot(name: &str, parent: Uuid, parent_transaction: u64) -> Self {
        let mut stream = Self(b"btrfs-stream\0\x01\0\0\0".to_vec());
        stream.command(
            2,
            &[
                (PATH, name.as_bytes()),
                (UUID, Uuid::new_v4().as_bytes()),
                (CTRANSID, &1_u64.to_le_bytes()),
                (CLONE_UUID, parent.as_bytes()),
                (CLONE_CTRANSID, &parent_transaction.to_le_bytes()),
            ],
        );
        stream
    }

    pub(super) fn subvolume(&mut self, name: &str) {
        let id = Uuid::new_v4();
        let transaction = 1_u64.to_le_bytes();
        let attributes = [
            (PATH, name.as_bytes()),
            (UUID, id.as_bytes()),
            (CTRANSID, &transaction[..]),
        ];
        self.command(1, &attributes);
    }

    pub(super) fn file(mut self, path: &str) -> Self {
        let inode = 257_u64.to_le_bytes();
        self.command(3, &[(PATH, path.as_bytes()), (INO, &inode)]);
        self
    }

    pub(super) fn device(mut self, path: &str) -> Self {
        let (inode, mode, device) = (258_u64, 0o20_666_u64, 0x0105_u64);
        let attributes = [
            (PATH, path.as_bytes()),
            (INO, &inode.to_le_bytes()[..]),
            (RDEV, &device.to_le_bytes()),
            (MODE, &mode.to_le_bytes()),
        ];
        self.command(5, &attributes);
        self
    }

    pub(super) fn symlink(mut self, path: &str, to: &str) -> Self {
        let inode = 259_u64.to_le_bytes();
        let attributes = [
            (PATH, path.as_bytes()),
            (INO, &inode[..]),
            (PATH_LINK, to.as_bytes()),
        ];
        self.command(8, &attributes);
        self
    }

    pub(super) fn rename(mut self, from: &str, to: &str) -> Self {
        self.command(9, &[(PATH, from.as_bytes()), (PATH_TO, to.as_bytes())]);
        self
    }

    pub(super) fn unlink(mut self, path: &str) -> Self {
        self.command(11, &[(PATH, path.as_bytes())]);
        self
    }

    pub(super) fn remove_directory(mut self, path: &str) -> Self {
        self.command(12, &[(PATH, path.as_bytes())]);
        self
    }

    pub(super) fn write(mut self, path: &str, data: &[u8]) -> Self {
        self.write_at(path, 0, data);
        self
    }

    pub(super) fn write_at(&mut self, path: &str, offset: u64, data: &[u8]) {
        let attributes = [
            (PATH, path.as_bytes()),
            (OFFSET, &offset.to_le_bytes()[..]),
            (DATA, data),
        ];
        self.command(15, &attributes);
    }

    /// Takes over what a file of another subvolume has.
    pub(super) fn clone_from(mut self, path: &str, of: (Uuid, u64), file: &str) -> Self {
        let (zero, length) = (0_u64.to_le_bytes(), 4096_u64.to_le_bytes());
        let attributes = [
            (OFFSET, &zero[..]),
            (CLONE_LENGTH, &length),
            (PATH, path.as_bytes()),
            (CLONE_UUID, of.0.as_bytes()),
            (CLONE_CTRANSID, &of.1.to_le_bytes()),
            (CLONE_PATH, file.as_bytes()),
            (CLONE_OFFSET, &zero),
        ];
        self.command(16, &attributes);
        self
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.command(21, &[]);
        self.0
    }

    /// What there is so far, and an empty rest to go on with.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    fn command(&mut self, number: u16, attributes: &[(Attribute, &[u8])]) {
        let mut body = Vec::new();
        for (attribute, value) in attributes {
            let length = u16::try_from(value.len()).unwrap();
            body.extend(attribute.0.to_le_bytes());
            body.extend(length.to_le_bytes());
            body.extend(*value);
        }
        let mut command = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        command.extend(number.to_le_bytes());
        command.extend([0; 4]);
        command.extend(body);
        let crc = crc32c(&command);
        command[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        self.0.extend(command);
    }
}

/// As the kernel's send does it: begun with zero and not inverted at the end. The usual checksum of as many
/// zeros takes both away.
fn crc32c(bytes: &[u8]) -> u32 {
    let usual = |bytes: &[u8]| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(usual(bytes) ^ usual(&vec![0; bytes.len()])).unwrap()
}
