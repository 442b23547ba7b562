//! A disk with a volatile write cache: what was written and not flushed may be lost when the power
//! goes, block by block, in any combination; what was flushed is never lost.
//!
//! Written to by [`super::nbd`] on behalf of a virtual machine, cut by the harness. A block that was
//! written several times since the last flush may come back as any of its versions, since a disk
//! writes its cache out when and in what order it likes. Draws from a seed only.

use super::dice::Dice;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is written or lost as one: the machine is told that this is the disk's sector size.
pub const BLOCK_BYTES: usize = 4096;
/// As a disk's own memory is; when it is full, half of it is written out.
const CACHE_BLOCKS_MAX: usize = 16_384;

type Block = Box<[u8]>;

/// What a cut did to a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Blocks that had been written since the last flush.
    pub unflushed_blocks: u64,
    /// Those of them that are not as they were written last.
    pub lost_blocks: u64,
}

impl std::ops::Add for CutReport {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            unflushed_blocks: self.unflushed_blocks + other.unflushed_blocks,
            lost_blocks: self.lost_blocks + other.lost_blocks,
        }
    }
}

/// A disk: a sparse file, and what has not reached it.
#[derive(Debug)]
pub struct VolatileDisk {
    file: File,
    bytes: u64,
    /// Every version of each block since the last flush, the newest last.
    cache: BTreeMap<u64, Vec<Block>>,
    cached_blocks: usize,
    dice: Dice,
}

impl VolatileDisk {
    /// A disk of this size: what is in the file, if there is one, and nothing after that.
    pub fn open(path: &Path, bytes: u64, seed: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(path)?;
        file.set_len(bytes)?;
        Ok(Self {
            file,
            bytes,
            cache: BTreeMap::new(),
            cached_blocks: 0,
            dice: Dice::new(seed),
        })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many versions of blocks a cut could lose now.
    pub fn unflushed(&self) -> usize {
        self.cached_blocks
    }

    /// Reads what was written last. Whole blocks only.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let first = self.first_block(offset, into.len())?;
        self.file.read_exact_at(into, offset)?;
        for (index, part) in (first..).zip(into.chunks_exact_mut(BLOCK_BYTES)) {
            if let Some(newest) = self.cache.get(&index).and_then(|versions| versions.last()) {
                part.copy_from_slice(newest);
            }
        }
        Ok(())
    }

    /// Writes into the cache. Whole blocks only.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        let first = self.first_block(offset, from.len())?;
        for (index, part) in (first..).zip(from.chunks_exact(BLOCK_BYTES)) {
            self.cache.entry(index).or_default().push(part.into());
            self.cached_blocks += 1;
        }
        if self.cached_blocks > CACHE_BLOCKS_MAX {
            self.write_half_out()?;
        }
        Ok(())
    }

    /// Makes everything that was written so far durable.
    pub fn flush(&mut self) -> io::Result<()> {
        for (index, versions) in std::mem::take(&mut self.cache) {
            if let Some(newest) = versions.last() {
                self.write_out(index, newest)?;
            }
        }
        self.cached_blocks = 0;
        Ok(())
    }

    /// The power goes: of every block that was not flushed, one version is what the disk has later,
    /// that of the last flush among them.
    pub fn cut(&mut self, seed: u64) -> io::Result<CutReport> {
        let mut dice = Dice::new(seed);
        // Some disks had hardly begun to write their cache out, some had nearly done.
        let written_out_percent = dice.below(5) * 24;
        let mut report = CutReport::default();
        for (index, versions) in std::mem::take(&mut self.cache) {
            let newest = versions.len() - 1;
            let kept = match dice.below(100) < written_out_percent {
                // More often the newest than an older one.
                true if dice.below(2) == 0 => Some(newest),
                true => Some(dice.index(versions.len())),
                false => None,
            };
            if let Some(kept) = kept {
                self.write_out(index, &versions[kept])?;
            }
            report.unflushed_blocks += 1;
            report.lost_blocks += u64::from(kept != Some(newest));
        }
        self.cached_blocks = 0;
        Ok(report)
    }

    fn first_block(&self, offset: u64, length: usize) -> io::Result<u64> {
        let block = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| offset.checked_add(length));
        let fits = end.is_some_and(|end| end <= self.bytes);
        if !fits || !offset.is_multiple_of(block) || !length.is_multiple_of(BLOCK_BYTES) {
            let what = format!("{length} bytes at {offset} are not whole blocks of this disk");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(offset / block)
    }

    fn write_out(&self, index: u64, block: &[u8]) -> io::Result<()> {
        let block_bytes = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
        self.file.write_all_at(block, index * block_bytes)
    }

    /// Drawn blocks go out, so that what stays is of all ages.
    fn write_half_out(&mut self) -> io::Result<()> {
        let drawn: Vec<u64> = self.cache.keys().copied().collect();
        for index in drawn {
            if self.dice.below(2) == 0
                && let Some(versions) = self.cache.remove(&index)
                && let Some(newest) = versions.last()
            {
                self.cached_blocks -= versions.len();
                self.write_out(index, newest)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK_BLOCKS: u64 = 64;

    fn disk() -> (tempfile::TempDir, VolatileDisk) {
        let directory = tempfile::tempdir().unwrap();
        let bytes = DISK_BLOCKS * u64::try_from(BLOCK_BYTES).unwrap();
        let disk = VolatileDisk::open(&directory.path().join("disk"), bytes, 1).unwrap();
        (directory, disk)
    }

    fn at(index: u64) -> u64 {
        index * u64::try_from(BLOCK_BYTES).unwrap()
    }

    fn content(disk: &VolatileDisk, index: u64) -> u8 {
        let mut block = [0; BLOCK_BYTES];
        disk.read(at(index), &mut block).unwrap();
        assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
        block[0]
    }

    fn fill(disk: &mut VolatileDisk, byte: u8) {
        for index in 0..DISK_BLOCKS {
            disk.write(at(index), &[byte; BLOCK_BYTES]).unwrap();
        }
    }

    #[test]
    fn what_was_flushed_stays_and_what_was_not_may_be_lost() {
        let (mut some_lost, mut some_kept, mut some_older) = (false, false, false);
        for seed in 0..50 {
            let (_directory, mut disk) = disk();
            fill(&mut disk, 1);
            disk.flush().unwrap();
            fill(&mut disk, 2);
            fill(&mut disk, 3);
            assert_eq!(u64::try_from(disk.unflushed()).unwrap(), 2 * DISK_BLOCKS);
            assert_eq!(
                content(&disk, 5),
                3,
                "before the cut the last write is seen"
            );
            let report = disk.cut(seed).unwrap();
            assert_eq!(report.unflushed_blocks, DISK_BLOCKS);
            let seen: Vec<u8> = (0..DISK_BLOCKS)
                .map(|index| content(&disk, index))
                .collect();
            assert!(seen.iter().all(|byte| (1..=3).contains(byte)));
            let lost = seen.iter().filter(|byte| **byte != 3).count();
            assert_eq!(u64::try_from(lost).unwrap(), report.lost_blocks);
            some_lost |= seen.contains(&1);
            some_older |= seen.contains(&2);
            some_kept |= seen.contains(&3);
        }
        assert!(some_lost && some_kept && some_older);
    }

    #[test]
    fn a_seed_loses_the_same_again() {
        let outcome = |seed| {
            let (_directory, mut disk) = disk();
            fill(&mut disk, 7);
            disk.cut(seed).unwrap();
            (0..DISK_BLOCKS)
                .map(|index| content(&disk, index))
                .collect::<Vec<_>>()
        };
        assert_eq!(outcome(11), outcome(11));
        assert!((0..20).any(|seed| outcome(seed) != outcome(11)));
    }

    #[test]
    fn a_full_cache_is_written_out_in_part() {
        let (_directory, mut disk) = disk();
        for _ in 0..=CACHE_BLOCKS_MAX / usize::try_from(DISK_BLOCKS).unwrap() {
            fill(&mut disk, 9);
        }
        assert!(disk.cached_blocks < CACHE_BLOCKS_MAX);
        assert_eq!(content(&disk, 3), 9);
    }

    #[test]
    fn parts_of_blocks_and_what_is_beyond_the_end_are_refused() {
        let (_directory, mut disk) = disk();
        assert!(disk.write(512, &[0; BLOCK_BYTES]).is_err());
        assert!(disk.write(0, &[0; 512]).is_err());
        assert!(disk.write(at(DISK_BLOCKS), &[0; BLOCK_BYTES]).is_err());
        assert!(disk.read(u64::MAX, &mut [0; BLOCK_BYTES]).is_err());
    }
}
