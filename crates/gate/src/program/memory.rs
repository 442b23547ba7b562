//! Memory without a heap: the texts that the kernel gave, one large buffer, and what the compiler expects
//! of a C library and of Rust's.

use super::TABLE_BYTES_MAX;
use core::cell::UnsafeCell;

/// Room for the table of mounts.
pub(super) type TableBuffer = [u8; TABLE_BYTES_MAX];

struct Only(UnsafeCell<TableBuffer>);

// SAFETY: the program has one thread.
unsafe impl Sync for Only {}

static TABLE: Only = Only(UnsafeCell::new([0; TABLE_BYTES_MAX]));

/// The one buffer; it costs memory only as far as it is filled.
///
/// SAFETY: called once.
pub(super) unsafe fn table_buffer() -> &'static mut TableBuffer {
    // SAFETY: the caller's word: there is no other reference.
    unsafe { &mut *TABLE.0.get() }
}

/// The environment as the kernel gave it, handed on as it is.
#[derive(Clone, Copy)]
pub(super) struct Environment(*const *const u8);

impl Environment {
    /// SAFETY: the kernel's list: pointers to texts that end with a zero, then a null pointer.
    pub(super) unsafe fn new(list: *const *const u8) -> Self {
        Self(list)
    }

    /// For the kernel.
    pub(super) fn list(self) -> usize {
        self.0 as usize
    }

    /// The value of a variable.
    pub(super) fn value(self, name: &[u8]) -> Option<&'static [u8]> {
        let mut entry = self.0;
        loop {
            // SAFETY: the list ends with a null pointer, at which this stops; its texts live as long as
            // the process.
            let text = unsafe {
                let text = *entry;
                if text.is_null() {
                    return None;
                }
                entry = entry.add(1);
                text_at(text)
            };
            let value = text
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix(b"="));
            if value.is_some() {
                return value;
            }
        }
    }
}

/// The text at a pointer, without the zero at its end.
///
/// SAFETY: there is a zero, and the text lives as long as the process.
pub(super) unsafe fn text_at(start: *const u8) -> &'static [u8] {
    let mut length = 0;
    // SAFETY: nothing behind the zero is looked at.
    unsafe {
        while *start.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(start, length)
    }
}

/// SAFETY: C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller's word.
        unsafe { *to.add(index) = *from.add(index) };
    }
    to
}

/// SAFETY: C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize) <= from as usize {
        // SAFETY: the caller's word; a byte is read before it is written over.
        return unsafe { memcpy(to, from, count) };
    }
    for index in (0..count).rev() {
        // SAFETY: the caller's word.
        unsafe { *to.add(index) = *from.add(index) };
    }
    to
}

/// SAFETY: C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller's word.
        unsafe { *to.add(index) = value as u8 };
    }
    to
}

/// SAFETY: C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller's word.
        let (a, b) = unsafe { (*one.add(index), *other.add(index)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// SAFETY: `bcmp`, which compilers prefer where only equality counts.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's word.
    unsafe { memcmp(one, other, count) }
}

/// What the core library's code would call to unwind. Nothing unwinds here: a panic ends the program.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
