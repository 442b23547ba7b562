//! The gate's program: waits at the head of a container until its volumes are mounted, then becomes the
//! container's own command, with the arguments, environment, user and directory that it was given.
//!
//! Started by the container engine as `gate PLACE... -- COMMAND ARGUMENT...`. A place is the end of the
//! path of a directory on the node that is mounted where the volume belongs; the volume is mounted over
//! it later. Runs in any image and as any user, so it uses the kernel and nothing else. It never runs
//! the command without every volume, writes nothing but why it failed, and allocates nothing.

#![no_std]
#![no_main]
// What it would recognise as a loop of memcpy is memcpy itself.
#![no_builtins]

mod command;
mod kernel;
mod memory;
#[path = "../table.rs"]
mod table;
#[path = "../words.rs"]
mod words;

use command::{Text, become_command};
use kernel::{Descriptor, Waited, complain, exit};
use table::Place;
use words::{CODE_GATE_FAILED, CODE_SIGNAL_BASE, SEPARATOR};

/// Largest table of mounts that is read, in bytes: some thousand mounts.
const TABLE_BYTES_MAX: usize = 512 * 1024;
/// Longest path, with its end; the kernel's own limit.
const PATH_BYTES_MAX: usize = 4_096;

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    fail(b"it is broken")
}

/// Ends a gate that cannot do its work.
fn fail(why: &[u8]) -> ! {
    complain(&[
        b"flocker: the gate cannot wait for the volumes: ",
        why,
        b"\n",
    ]);
    exit(CODE_GATE_FAILED)
}

/// Called with the stack as the kernel leaves it: the count of arguments, the arguments, the environment.
extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: only the entry point calls this, with the kernel's own layout.
    let (arguments, environment) = unsafe { kernel::given(stack) };
    let after_name = arguments.get(1..).unwrap_or_default();
    let separator = after_name
        .iter()
        .position(|argument| argument.bytes() == SEPARATOR.as_bytes());
    let Some(separator) = separator else {
        fail(b"it was started without a command");
    };
    let (places, rest) = after_name.split_at(separator);
    // The list ends with a null pointer, as the kernel wants it for the command, too.
    let command = rest.get(1..).unwrap_or_default();
    let mut directory = [0; PATH_BYTES_MAX];
    let Ok(directory) = kernel::current_directory(&mut directory) else {
        fail(b"the working directory is not to be had");
    };
    let signals = kernel::take_signals();
    let moved = wait(places, &signals, directory);
    kernel::give_signals_back(signals);
    if moved && kernel::change_directory(directory).is_err() {
        complain(&[
            b"flocker: the working directory ",
            directory,
            b" is not on the volume, or may not be entered\n",
        ]);
        exit(words::CODE_NOT_RUNNABLE);
    }
    become_command(command, environment)
}

/// Returns when every place is covered; says whether the working directory is on one of them.
fn wait(places: &[Text], signals: &Descriptor, directory: &[u8]) -> bool {
    let Ok(mounts) = kernel::open(c"/proc/self/mountinfo") else {
        fail(b"/proc/self/mountinfo cannot be read");
    };
    // SAFETY: called once, and there is one thread.
    let buffer = unsafe { memory::table_buffer() };
    loop {
        let Ok(table) = kernel::read_all(&mounts, buffer) else {
            fail(b"/proc/self/mountinfo cannot be read, or is too long");
        };
        let mut closed = false;
        let mut moved = false;
        for name in places {
            match table::place(table, name.bytes()) {
                Place::Missing => fail(b"a place for a volume is not mounted"),
                Place::Empty { .. } => closed = true,
                Place::Covered { mount_point } => {
                    moved |= table::contains(mount_point, directory);
                }
            }
        }
        if !closed {
            return moved;
        }
        match kernel::wait(&mounts, signals) {
            Waited::Mounts => {}
            Waited::Signal(number) => exit(CODE_SIGNAL_BASE + number),
            Waited::Failed => fail(b"changes of the mounts cannot be waited for"),
        }
    }
}
