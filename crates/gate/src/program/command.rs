//! Becoming the container's own command: found as the engine's runtime finds it, with the same exit codes
//! when there is none.

use super::PATH_BYTES_MAX;
use super::kernel::{
    ErrorNumber, NAME_TOO_LONG, NO_ACCESS, NO_ENTRY, NOT_A_DIRECTORY, complain, execute, exit,
};
use super::memory::{Environment, text_at};
use super::words::{CODE_GATE_FAILED, CODE_NOT_FOUND, CODE_NOT_RUNNABLE};

/// A text of the kernel's: a pointer to bytes that end with a zero.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Text(*const u8);

impl Text {
    /// Without the zero.
    pub(super) fn bytes(&self) -> &'static [u8] {
        // SAFETY: made by the kernel alone, for as long as the process lives.
        unsafe { text_at(self.0) }
    }
}

/// `command` is the end of the kernel's own list of arguments, which a null pointer follows.
pub(super) fn become_command(command: &[Text], environment: Environment) -> ! {
    let Some(name) = command.first().map(Text::bytes) else {
        complain(&[b"flocker: the container has no command\n"]);
        exit(CODE_GATE_FAILED);
    };
    let error = if name.contains(&b'/') {
        // SAFETY: the name is the kernel's text, with its zero; the list ends as the kernel's does.
        unsafe { execute(name.as_ptr(), command.as_ptr(), environment) }
    } else {
        search(name, command, environment)
    };
    let (why, code): (&[u8], i32) = match error.0 {
        NO_ENTRY => (
            b"there is no such program, or not what it needs to run",
            CODE_NOT_FOUND,
        ),
        NOT_A_DIRECTORY => (b"there is no such program", CODE_NOT_FOUND),
        NO_ACCESS => (b"permission denied", CODE_NOT_RUNNABLE),
        _ => (b"the kernel refuses to run it", CODE_NOT_RUNNABLE),
    };
    complain(&[b"flocker: cannot run ", name, b": ", why, b"\n"]);
    exit(code)
}

/// Tries each directory of PATH; an empty one is the working directory.
fn search(name: &[u8], command: &[Text], environment: Environment) -> ErrorNumber {
    let mut seen = ErrorNumber(NO_ENTRY);
    let path = environment.value(b"PATH").unwrap_or_default();
    if name.is_empty() {
        return seen;
    }
    for directory in path.split(|byte| *byte == b':') {
        let mut candidate = [0; PATH_BYTES_MAX];
        if !join(&mut candidate, directory, name) {
            continue;
        }
        // SAFETY: the candidate ends with a zero, the list as the kernel's does.
        let error = unsafe { execute(candidate.as_ptr(), command.as_ptr(), environment) };
        match error.0 {
            NO_ENTRY | NOT_A_DIRECTORY | NAME_TOO_LONG => {}
            // There may be another one further on that may be run.
            NO_ACCESS => seen = error,
            _ => return error,
        }
    }
    seen
}

/// Writes `directory/name` and leaves a zero at its end; false when it does not fit.
fn join(into: &mut [u8; PATH_BYTES_MAX], directory: &[u8], name: &[u8]) -> bool {
    let directory: &[u8] = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    let text = directory.iter().chain(b"/").chain(name);
    if directory.len() + name.len() + 2 > into.len() {
        return false;
    }
    for (to, from) in into.iter_mut().zip(text) {
        *to = *from;
    }
    true
}
