//! Compiles the gate's program, which the library then carries as bytes: one call of the compiler, for
//! a program that needs no C library, no allocator and nothing from elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Processors whose system calls the program knows.
const PROCESSORS: &[&str] = &["x86_64", "aarch64"];
const SOURCE: &str = "src/program/main.rs";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("cargo did not say {name}: {error}"))
}

fn main() {
    for file in ["build.rs", "src/program", "src/table.rs", "src/words.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = PathBuf::from(variable("OUT_DIR")).join("flocker-gate");
    let known = PROCESSORS.contains(&variable("CARGO_CFG_TARGET_ARCH").as_str());
    if known && variable("CARGO_CFG_TARGET_OS") == "linux" {
        compile(&out);
    } else {
        // The library says that there is none; containers are then made without a gate.
        std::fs::write(&out, b"").unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    }
}

fn compile(out: &Path) {
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "flocker_gate_program"]);
    rustc.args(["--crate-type", "bin", "--target", &variable("TARGET")]);
    for option in [
        "panic=abort",
        "opt-level=s",
        "strip=symbols",
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-Wl,--build-id=none",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    rustc.arg("-o").arg(out).arg(SOURCE);
    let ended = rustc
        .status()
        .unwrap_or_else(|error| panic!("cannot run {rustc:?}: {error}"));
    assert!(
        ended.success(),
        "the gate's program does not compile ({ended}); a linker (package gcc) is needed: {rustc:?}"
    );
}
