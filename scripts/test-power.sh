#!/usr/bin/env bash
# Pulls the plug: virtual machines (Debian's kernel, OpenZFS 2.1, disks whose cache is lost) lose power on
# either side of a move, in each of its phases. Goes on where docs/power-cuts.tsv has holes.
#
# POWER_RUNS     runs per phase and side (10)
# POWER_STORAGE  zfs or btrfs (zfs)
# POWER_NOW      at most so many runs now (all that are missing)
# POWER_CACHE    where the machines' system is made and kept, some 3 GB (/var/cache/flocker/power)
#
# Needs no hardware help for virtual machines. A run takes some minutes; making the machines'
# system the first time takes a quarter of an hour.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install-dependencies.sh
# A fresh Rust is not in this shell's PATH yet.
. scripts/common.sh
need_rust

cache=${POWER_CACHE:-/var/cache/flocker/power}

missing=""
command -v qemu-system-x86_64 >/dev/null || missing="$missing qemu-system-x86"
command -v debootstrap >/dev/null || missing="$missing debootstrap"
command -v strip >/dev/null || missing="$missing binutils"
if [ -n "$missing" ]; then
    say "installing by apt-get (for the virtual machines):$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $missing </dev/null >&2
fi

say "building"
as_builder cargo build --workspace --locked --bins --quiet
as_root scripts/power/build-guest.sh "$cache"
as_root target/debug/flocker-power "$cache" docs/power-cuts.tsv \
    "${POWER_RUNS:-10}" "${POWER_STORAGE:-zfs}" "${POWER_NOW:-}"
