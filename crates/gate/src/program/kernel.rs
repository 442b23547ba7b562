//! The kernel's calls that the program makes, and the layout of what the kernel hands it.

use super::command::Text;
use super::memory::{Environment, TableBuffer};
use core::arch::asm;
use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const READ: usize = 0;
    pub(super) const READ_AT: usize = 17;
    pub(super) const WRITE: usize = 1;
    pub(super) const SIGNAL_MASK: usize = 14;
    pub(super) const EXECUTE: usize = 59;
    pub(super) const CURRENT_DIRECTORY: usize = 79;
    pub(super) const CHANGE_DIRECTORY: usize = 80;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const OPEN_AT: usize = 257;
    pub(super) const POLL: usize = 271;
    pub(super) const SIGNAL_DESCRIPTOR: usize = 289;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const READ: usize = 63;
    pub(super) const READ_AT: usize = 67;
    pub(super) const WRITE: usize = 64;
    pub(super) const SIGNAL_MASK: usize = 135;
    pub(super) const EXECUTE: usize = 221;
    pub(super) const CURRENT_DIRECTORY: usize = 17;
    pub(super) const CHANGE_DIRECTORY: usize = 49;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const OPEN_AT: usize = 56;
    pub(super) const POLL: usize = 73;
    pub(super) const SIGNAL_DESCRIPTOR: usize = 74;
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    begin = sym super::begin,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl {begin}",
    begin = sym super::begin,
);

/// Error numbers that make a difference.
pub(super) const NO_ENTRY: isize = 2;
pub(super) const INTERRUPTED: isize = 4;
pub(super) const NO_ACCESS: isize = 13;
pub(super) const NOT_A_DIRECTORY: isize = 20;
pub(super) const NAME_TOO_LONG: isize = 36;

const AT_CURRENT_DIRECTORY: usize = -100_isize as usize;
const OPEN_CLOSE_ON_EXEC: usize = 0o2_000_000;
const SIGNAL_CLOSE_ON_EXEC: usize = 0o2_000_000;
const MASK_BLOCK: usize = 0;
const MASK_SET: usize = 2;
/// Bytes of the kernel's set of signals.
const SIGNAL_SET_BYTES: usize = 8;
/// Hang-up (1), interrupt (2), quit (3), terminate (15): who sends one wants the container to end.
/// The kernel counts from one, the bits of its set from nought.
const SIGNALS: u64 = 0b0100_0000_0000_0111;
const READABLE: i16 = 1;
const PRIORITY: i16 = 2;
const ERROR_STREAM: usize = 2;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ErrorNumber(pub(super) isize);

/// An open file. Not closed by hand: the kernel does that when the command takes over.
pub(super) struct Descriptor {
    number: usize,
    /// The signals that were blocked before, where it reads signals.
    blocked_before: u64,
}

/// Why a wait ended.
pub(super) enum Waited {
    Mounts,
    Signal(i32),
    Failed,
}

/// A wish of `poll`, as the kernel lays it out.
#[repr(C)]
struct Poll {
    descriptor: i32,
    events: i16,
    seen: i16,
}

/// SAFETY: the caller answers for what the call does with its arguments.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize, ErrorNumber> {
    let [a, b, c, d, e] = arguments;
    let answer: isize;
    // SAFETY: the registers are those of the kernel's calling convention.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _,
            options(nostack));
    }
    meaning(answer)
}

/// SAFETY: the caller answers for what the call does with its arguments.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize, ErrorNumber> {
    let [a, b, c, d, e] = arguments;
    let answer: isize;
    // SAFETY: the registers are those of the kernel's calling convention.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => answer, in("x1") b,
            in("x2") c, in("x3") d, in("x4") e, options(nostack));
    }
    meaning(answer)
}

fn meaning(answer: isize) -> Result<usize, ErrorNumber> {
    usize::try_from(answer).map_err(|_| ErrorNumber(-answer))
}

/// The arguments and the environment that the kernel put on the stack.
///
/// SAFETY: `stack` is the stack pointer as it was at the process's first instruction.
pub(super) unsafe fn given(stack: *const usize) -> (&'static [Text], Environment) {
    // SAFETY: the count comes first, then so many pointers to texts that end with a zero and live as
    // long as the process, a null pointer, and the environment in the same way.
    unsafe {
        let count = *stack;
        let arguments = stack.add(1);
        let environment = arguments.add(count + 1);
        let arguments = core::slice::from_raw_parts(arguments.cast::<Text>(), count);
        (arguments, Environment::new(environment.cast()))
    }
}

/// Ends the process.
pub(super) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: nothing is left to be done.
        let _never = unsafe { call(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0]) };
    }
}

/// Says something on the error stream, which the engine keeps in the container's log.
pub(super) fn complain(parts: &[&[u8]]) {
    for part in parts {
        let arguments = [ERROR_STREAM, part.as_ptr() as usize, part.len(), 0, 0];
        // SAFETY: the kernel reads that part and nothing else. Nobody is left to be told of a failure.
        let _ignored = unsafe { call(number::WRITE, arguments) };
    }
}

/// Opens a file for reading.
pub(super) fn open(path: &CStr) -> Result<Descriptor, ErrorNumber> {
    let path = path.as_ptr() as usize;
    let arguments = [AT_CURRENT_DIRECTORY, path, OPEN_CLOSE_ON_EXEC, 0, 0];
    // SAFETY: the path ends with a zero.
    let number = unsafe { call(number::OPEN_AT, arguments) }?;
    Ok(Descriptor {
        number,
        blocked_before: 0,
    })
}

/// The whole file as it is now; an error also when it does not fit.
pub(super) fn read_all<'a>(
    file: &Descriptor,
    buffer: &'a mut TableBuffer,
) -> Result<&'a [u8], ErrorNumber> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        let arguments = [
            file.number,
            room.as_mut_ptr() as usize,
            room.len(),
            filled,
            0,
        ];
        // SAFETY: the kernel writes into the room, no more than its length.
        match unsafe { call(number::READ_AT, arguments) } {
            Ok(0) => return Ok(buffer.get(..filled).unwrap_or_default()),
            Ok(more) => filled += more,
            Err(ErrorNumber(INTERRUPTED)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorNumber(NAME_TOO_LONG))
}

/// The working directory, without a zero at its end.
pub(super) fn current_directory(buffer: &mut [u8]) -> Result<&[u8], ErrorNumber> {
    let arguments = [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: the kernel writes into the buffer, no more than its length.
    let written = unsafe { call(number::CURRENT_DIRECTORY, arguments) }?;
    buffer
        .get(..written.saturating_sub(1))
        .ok_or(ErrorNumber(NAME_TOO_LONG))
}

/// Goes to a directory that [`current_directory`] told: a zero follows it in its buffer.
pub(super) fn change_directory(path: &[u8]) -> Result<(), ErrorNumber> {
    // SAFETY: the zero that the kernel wrote at the path's end is still there.
    unsafe {
        call(
            number::CHANGE_DIRECTORY,
            [path.as_ptr() as usize, 0, 0, 0, 0],
        )
    }?;
    Ok(())
}

/// From now on the signals that end a container are read, not delivered: the first process of a
/// container is not ended by a signal that it does not handle.
pub(super) fn take_signals() -> Descriptor {
    let mut blocked_before = 0_u64;
    let wanted = SIGNALS;
    let (set, old) = (&raw const wanted as usize, &raw mut blocked_before as usize);
    // SAFETY: both sets are as long as the call is told.
    let blocked = unsafe {
        call(
            number::SIGNAL_MASK,
            [MASK_BLOCK, set, old, SIGNAL_SET_BYTES, 0],
        )
    };
    let arguments = [usize::MAX, set, SIGNAL_SET_BYTES, SIGNAL_CLOSE_ON_EXEC, 0];
    // SAFETY: as above; no descriptor is given, so that a new one is made.
    let made = unsafe { call(number::SIGNAL_DESCRIPTOR, arguments) };
    match (blocked, made) {
        (Ok(_), Ok(number)) => Descriptor {
            number,
            blocked_before,
        },
        _ => super::fail(b"signals cannot be read"),
    }
}

/// The command gets the signals as the gate got them.
pub(super) fn give_signals_back(signals: Descriptor) {
    let before = signals.blocked_before;
    let arguments = [MASK_SET, &raw const before as usize, 0, SIGNAL_SET_BYTES, 0];
    // SAFETY: the set is as long as the call is told. It cannot fail with a set that was in force.
    let _cannot_fail = unsafe { call(number::SIGNAL_MASK, arguments) };
}

/// Until the mounts have changed since they were last waited for, or a signal has come.
pub(super) fn wait(mounts: &Descriptor, signals: &Descriptor) -> Waited {
    let wish = |file: &Descriptor, events| Poll {
        descriptor: file.number as i32,
        events,
        seen: 0,
    };
    let mut wishes = [wish(mounts, PRIORITY), wish(signals, READABLE)];
    let arguments = [wishes.as_mut_ptr() as usize, wishes.len(), 0, 0, 0];
    // SAFETY: the kernel writes what it saw into the wishes; no time limit and no set of signals.
    match unsafe { call(number::POLL, arguments) } {
        Ok(_) if wishes[1].seen != 0 => next_signal(signals),
        Ok(_) | Err(ErrorNumber(INTERRUPTED)) => Waited::Mounts,
        Err(_) => Waited::Failed,
    }
}

fn next_signal(signals: &Descriptor) -> Waited {
    /// What the kernel tells of one signal; its number comes first.
    const TOLD_WORDS: usize = 32;
    let mut told = [0_i32; TOLD_WORDS];
    let bytes = core::mem::size_of_val(&told);
    let arguments = [signals.number, told.as_mut_ptr() as usize, bytes, 0, 0];
    // SAFETY: the kernel writes one whole message, which is exactly so long.
    match unsafe { call(number::READ, arguments) } {
        Ok(_) => Waited::Signal(told[0]),
        Err(_) => Waited::Failed,
    }
}

/// Becomes another program. Returns only when that fails.
///
/// SAFETY: the path ends with a zero, both lists with a null pointer.
pub(super) unsafe fn execute(
    path: *const u8,
    arguments: *const Text,
    environment: Environment,
) -> ErrorNumber {
    let arguments = [path as usize, arguments as usize, environment.list(), 0, 0];
    // SAFETY: the caller's word, and the environment is the kernel's own list.
    match unsafe { call(number::EXECUTE, arguments) } {
        Ok(_) => ErrorNumber(0),
        Err(error) => error,
    }
}
