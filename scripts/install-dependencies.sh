#!/usr/bin/env bash
# Installs what building and testing Flocker needs and is missing, on Debian 12 or newer and Ubuntu
# 22.04 or newer. Asks nothing, says what it does, does nothing when everything is there.
# Services that come with a package are neither started nor switched on.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# command : package that has it
NEEDED="
dockerd:docker.io
mkfs.btrfs:btrfs-progs
mkfs.ext4:e2fsprogs
ip:iproute2
nft:nftables
iptables:iptables
nsenter:util-linux
losetup:mount
setsid:util-linux
busybox:busybox-static
gcc:gcc
make:make
git:git
curl:curl
"
# Services of those packages.
UNITS="docker.socket docker.service containerd.service nftables.service zfs-fuse.service"

missing_packages() {
    local line
    for line in $NEEDED; do
        command -v "${line%%:*}" >/dev/null || echo "${line##*:}"
    done
    # gcc alone does not link; without certificates nothing can be downloaded.
    [ -e /usr/include/stdlib.h ] || echo libc6-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    # Docker refuses to start containers when the kernel has AppArmor and this is missing.
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
        command -v apparmor_parser >/dev/null || echo apparmor
    fi
}

# ZFS in user space, for tests. It and OpenZFS have the same commands, so a machine that has OpenZFS
# keeps it.
wants_zfs_fuse() { ! command -v zpool >/dev/null; }

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
        apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}

known_to_apt() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# apt-get install, with the services that come along kept from starting, now and at boot.
install_quietly() {
    local guard=/usr/sbin/policy-rc.d made_guard="" unit new_units=""
    for unit in $UNITS; do
        [ -e "/lib/systemd/system/$unit" ] || new_units="$new_units $unit"
    done
    if [ ! -e "$guard" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$guard" >/dev/null
        as_root chmod 755 "$guard"
        made_guard=yes
    fi
    local result=0
    apt install --no-install-recommends -y "$@" || result=$?
    [ -z "$made_guard" ] || as_root rm -f "$guard"
    for unit in $new_units; do
        if [ -e "/lib/systemd/system/$unit" ] && command -v systemctl >/dev/null; then
            as_root systemctl disable --quiet "$unit" ||
                say "note: $unit came with a package and could not be switched off"
        fi
    done
    return $result
}

install_packages() {
    local packages
    packages=$(missing_packages | sort -u | tr '\n' ' ')
    if [ -z "$packages" ] && ! wants_zfs_fuse; then
        return
    fi
    command -v apt-get >/dev/null ||
        die "this script knows apt only; install these by hand: $packages"
    [ -z "$packages" ] || say "installing by apt-get (missing here): $packages"
    # Lists of a fresh machine are absent or too old to be useful.
    apt update || die "apt-get update failed: is there a network?"
    if wants_zfs_fuse; then
        if known_to_apt zfs-fuse; then
            say "installing by apt-get (for the ZFS tests): zfs-fuse"
            packages="$packages zfs-fuse"
        else
            say "note: this system has no zfs-fuse package and no OpenZFS; ZFS tests say so and fail"
        fi
    fi
    [ -z "$packages" ] || install_quietly $packages ||
        die "apt-get could not install: $packages"
    local still
    still=$(missing_packages | sort -u | tr '\n' ' ')
    [ -z "$still" ] || die "apt-get was content, yet this is missing: $still"
}

install_rust() {
    rust_is_there && return
    local wanted
    wanted=$(rust_wanted)
    # The distribution's rustup, where it has one and no other Rust of its own is in its way.
    if ! command -v rustup >/dev/null && ! command -v cargo >/dev/null && known_to_apt rustup; then
        say "installing by apt-get: rustup"
        install_quietly rustup || die "apt-get could not install rustup"
    fi
    if command -v rustup >/dev/null; then
        say "installing Rust (stable, at least $wanted) by rustup into $RUSTUP_HOME"
        as_builder rustup toolchain install stable --profile minimal -c clippy -c rustfmt >&2
        as_builder rustup default >/dev/null 2>&1 || as_builder rustup default stable >&2
    else
        say "installing rustup and Rust (stable, at least $wanted) from https://sh.rustup.rs into $BUILDER_HOME/.cargo"
        as_builder bash -c 'curl --proto "=https" --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --quiet --no-modify-path --profile minimal -c clippy -c rustfmt' >&2
        PATH="$CARGO_HOME/bin:$PATH"
    fi
    rust_is_there || die "Rust $wanted or newer is needed and could not be installed; see https://rustup.rs"
}

install_packages
install_rust
