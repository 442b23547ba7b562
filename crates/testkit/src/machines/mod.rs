//! Virtual machines whose plug can be pulled: Debian's kernel, OpenZFS or btrfs, Docker, Flocker, and
//! disks that lose what was not flushed.
//!
//! Used by the power test. Each machine is a process of qemu without hardware help, its network a tap
//! device on a sandbox's bridge, its disks served from this process. What they boot is made by
//! `scripts/power/build-guest.sh`. Needs root. Nothing here runs on a real server.

mod dice;
mod disk;
mod error;
mod machine;
mod nbd;

pub use dice::Dice;
pub use disk::{BLOCK_BYTES, CutReport, VolatileDisk};
pub use error::MachineError;
pub use machine::{Guest, Machine, MachineSpec};
pub use nbd::DiskServer;
