//! What the program and whoever starts it have to agree on. Compiled into both.

/// Ends the places among the program's arguments; the real command follows.
pub const SEPARATOR: &str = "--";
/// Exit code of a gate that cannot do its work; no command has run. Docker uses it for failures of
/// its own, too.
pub const CODE_GATE_FAILED: i32 = 125;
/// Exit code when the command is there but cannot be run, as with Docker.
pub const CODE_NOT_RUNNABLE: i32 = 126;
/// Exit code when there is no such command, as with Docker.
pub const CODE_NOT_FOUND: i32 = 127;
/// Added to the number of the signal that ended the gate, as a shell does.
pub const CODE_SIGNAL_BASE: i32 = 128;
