//! Bytes put together by hand, as no program of ours would send them: frames between agents, and btrfs
//! streams.

/// A frame of the agents' streams. Kind 1 is a request, 3 is data.
pub(super) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = b"FLKF\x01".to_vec();
    frame.extend([kind, 0, 0]);
    frame.extend(length.to_le_bytes());
    frame.extend(length.to_le_bytes());
    let crc = crc32c(!0, frame.iter().chain(payload)) ^ !0;
    frame.extend(crc.to_le_bytes());
    frame.extend(payload);
    frame
}

/// A btrfs stream (version 1) that makes a subvolume with one file at this path and writes so many bytes
/// into it; without an end.
pub(super) fn btrfs_stream(subvolume: &str, path: &str, bytes: usize) -> Vec<u8> {
    const PATH: u16 = 15;
    let mut stream = b"btrfs-stream\0\x01\0\0\0".to_vec();
    let (number, inode) = (1_u64.to_le_bytes(), 257_u64.to_le_bytes());
    let made = [(PATH, subvolume.as_bytes()), (1, &[7; 16]), (2, &number)];
    stream.extend(command(1, &made));
    stream.extend(command(3, &[(PATH, path.as_bytes()), (3, &inode)]));
    let data = [0x5a; 48 << 10];
    let offset = 0_u64.to_le_bytes();
    let write = command(15, &[(PATH, path.as_bytes()), (18, &offset), (19, &data)]);
    while stream.len() < bytes {
        stream.extend(&write);
    }
    stream
}

fn command(number: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    const CRC_AT: usize = 6;
    let mut body = Vec::new();
    for (attribute, value) in attributes {
        body.extend(attribute.to_le_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        body.extend(*value);
    }
    let mut command = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    command.extend(number.to_le_bytes());
    command.extend([0; 4]);
    command.extend(body);
    // As the kernel's send does it: begun with zero and not inverted at the end.
    let crc = crc32c(0, command.iter());
    command[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    command
}

fn crc32c<'a>(begin: u32, bytes: impl IntoIterator<Item = &'a u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| match crc & 1 {
        1 => (crc >> 1) ^ POLYNOMIAL,
        _ => crc >> 1,
    };
    bytes.into_iter().fold(begin, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}
