# What the scripts share: who builds, who is root, where Rust is, and steps with their times.
# Sourced, never run.
# shellcheck shell=bash

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
PATH="$PATH:/usr/sbin:/sbin"

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# Whoever called sudo builds, so that nothing in the checkout belongs to root afterwards.
BUILDER=$(id -un)
if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] &&
    [ "$(stat -c %U "$ROOT")" = "$SUDO_USER" ]; then
    BUILDER=$SUDO_USER
fi
if [ "$BUILDER" = "$(id -un)" ]; then
    BUILDER_HOME=${HOME:?}
else
    BUILDER_HOME=$(getent passwd "$BUILDER" | cut -d: -f6)
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "this needs root: run it as root, or install sudo"
        sudo env "PATH=$PATH" "CARGO_HOME=$CARGO_HOME" "RUSTUP_HOME=$RUSTUP_HOME" \
            ${RUSTUP_TOOLCHAIN:+"RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN"} \
            "INSTA_UPDATE=${INSTA_UPDATE:-auto}" "$@"
    fi
}

as_builder() {
    if [ "$BUILDER" = "$(id -un)" ]; then
        "$@"
    else
        sudo -u "$BUILDER" -H env "PATH=$PATH" \
            ${RUSTUP_TOOLCHAIN:+"RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN"} \
            "INSTA_UPDATE=${INSTA_UPDATE:-auto}" "$@"
    fi
}

# The Rust of whoever builds, also when root runs what was built.
export CARGO_HOME=${CARGO_HOME:-$BUILDER_HOME/.cargo}
export RUSTUP_HOME=${RUSTUP_HOME:-$BUILDER_HOME/.rustup}
if [ -x "$CARGO_HOME/bin/cargo" ]; then
    PATH="$CARGO_HOME/bin:$PATH"
fi
export PATH

rust_wanted() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -1; }

# new_enough CARGO...: whether that cargo can build what Cargo.toml asks for.
new_enough() {
    local found
    found=$(as_builder "$@" --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$found" ] &&
        [ "$(printf '%s\n' "$(rust_wanted)" "$found" | sort -V | head -1)" = "$(rust_wanted)" ]
}

# Finds a Rust that is new enough. With rustup that may be another one than the default, which
# stays what it is.
rust_is_there() {
    new_enough cargo && return
    [ -z "${RUSTUP_TOOLCHAIN:-}" ] && new_enough cargo +stable && export RUSTUP_TOOLCHAIN=stable
}

need_rust() {
    rust_is_there || die "Rust $(rust_wanted) or newer is needed: run scripts/install-dependencies.sh"
}

has_nextest() { as_builder cargo nextest --version >/dev/null 2>&1; }

FAILED_STEPS=0

# step NAME COMMAND...: runs it, says how long it took, and goes on when it fails.
step() {
    local name=$1 start=$SECONDS
    shift
    say "== $name"
    if "$@"; then
        say "== $name: ok ($((SECONDS - start)) s)"
    else
        FAILED_STEPS=$((FAILED_STEPS + 1))
        say "== $name: FAILED ($((SECONDS - start)) s)"
    fi
}

# Ends the script by what its steps came to.
end_of_steps() {
    [ "$FAILED_STEPS" = 0 ] || die "$FAILED_STEPS of the steps above failed"
}
