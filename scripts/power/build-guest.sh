#!/usr/bin/env bash
# Makes what the virtual machines of the power test boot: Debian 12's kernel, a small root filesystem with
# Docker, OpenZFS 2.1 and btrfs, and a first file system for the kernel that finds the disks.
#
# build-guest.sh DIRECTORY: the result is kernel, first.cpio and root.img in DIRECTORY, and a stamp that
# says that they are whole. Everything is installed in trees of its own below DIRECTORY; OpenZFS's kernel
# modules are compiled there, which takes minutes. Needs root and debootstrap.

set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
PATH="$PATH:/usr/sbin:/sbin"

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TO=${1:?whither}
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
SUITE=bookworm
# Raised when what is below makes something else.
FORMAT=1

say() { printf '%s\n' "$*" >&2; }

stamp() { cat "${BASH_SOURCE[0]}" "$HERE"/guest-*.sh | sha256sum | cut -c1-16; }

# tree NAME PACKAGE...: a Debian with these packages in TO/NAME, unless it is there already.
tree() {
    local name=$1 root=$TO/$1 result=0
    shift
    [ ! -e "$root/.whole-$FORMAT" ] || return 0
    say "installing in $root: $*"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR" >"$TO/$name.log" 2>&1
    echo "deb $MIRROR $SUITE main contrib" >"$root/etc/apt/sources.list"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    {
        chroot "$root" apt-get update &&
            chroot "$root" apt-get install -y --no-install-recommends "$@"
    } >>"$TO/$name.log" 2>&1 </dev/null || result=$?
    umount "$root/proc"
    [ "$result" = 0 ] || {
        tail -20 "$TO/$name.log" >&2
        exit "$result"
    }
    touch "$root/.whole-$FORMAT"
}

# The kernel with OpenZFS's modules, compiled where compilers do no harm.
kernel() {
    tree build linux-image-amd64 linux-headers-amd64 zfs-dkms
    VERSION=$(ls "$TO/build/lib/modules" | sort -V | tail -1)
    if ! find "$TO/build/lib/modules/$VERSION" -name 'zfs.ko*' | grep -q .; then
        say "compiling OpenZFS for $VERSION"
        mount -t proc proc "$TO/build/proc"
        chroot "$TO/build" dkms autoinstall -k "$VERSION" >"$TO/dkms.log" 2>&1 || {
            umount "$TO/build/proc"
            tail -20 "$TO/dkms.log" >&2
            exit 1
        }
        umount "$TO/build/proc"
    fi
    cp "$TO/build/boot/vmlinuz-$VERSION" "$TO/kernel"
}

root_image() {
    tree root docker.io zfsutils-linux btrfs-progs e2fsprogs iproute2 nftables iptables socat kmod \
        busybox-static ca-certificates procps libgcc-s1
    local root=$TO/root modules=lib/modules/$VERSION part
    rm -rf "$root/lib/modules"
    mkdir -p "$root/$modules/kernel"
    cp "$TO/build/$modules"/modules.{order,builtin,builtin.modinfo} "$root/$modules/"
    for part in arch crypto fs lib net drivers/virtio drivers/block drivers/net drivers/char \
        drivers/md; do
        mkdir -p "$root/$modules/kernel/$(dirname "$part")"
        cp -a "$TO/build/$modules/kernel/$part" "$root/$modules/kernel/$part"
    done
    rm -rf "$root/$modules"/kernel/drivers/net/{wireless,ethernet,usb,can,phy,fddi,hamradio}
    cp -a "$TO/build/$modules/updates" "$root/$modules/"
    chroot "$root" depmod "$VERSION"
    install -m 755 "$HERE/guest-init.sh" "$root/sbin/guest-init"
    echo '::respawn:/bin/busybox tail -f /dev/null' >"$root/etc/inittab"
    mkdir -p "$root"/{data,program,etc/docker}
    rm -rf "$root"/var/lib/{docker,containerd,flocker} "$root"/var/cache/apt/archives/*.deb
    ln -sfn /data/docker "$root/var/lib/docker"
    ln -sfn /data/containerd "$root/var/lib/containerd"
    ln -sfn /data/flocker "$root/var/lib/flocker"
    ln -sfn /proc/mounts "$root/etc/mtab"
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
    # One for all machines: none ever sees another's disks.
    printf '\x01\x02\x03\x04' >"$root/etc/hostid"
    rm -f "$TO/root.img"
    mkfs.ext4 -q -d "$root" -O ^has_journal -E lazy_itable_init=0 "$TO/root.img" 2500M
}

# The modules without which no disk is found, and a shell that loads them.
first() {
    local first=$TO/first name file
    rm -rf "$first"
    mkdir -p "$first"/{bin,dev,proc,sys,root,modules}
    cp "$TO/root/bin/busybox" "$first/bin/busybox"
    : >"$first/modules/order"
    for name in virtio_pci virtio_blk ext4; do
        chroot "$TO/root" modprobe -S "$VERSION" --show-depends "$name" | while read -r kind file _; do
            [ "$kind" = insmod ] || continue
            grep -qx "$(basename "$file")" "$first/modules/order" ||
                { cp "$TO/root$file" "$first/modules/" && basename "$file" >>"$first/modules/order"; }
        done
    done
    install -m 755 "$HERE/guest-first.sh" "$first/init"
    (cd "$first" && find . | busybox cpio -o -H newc 2>/dev/null) >"$TO/first.cpio"
}

mkdir -p "$TO"
if [ "$(cat "$TO/stamp" 2>/dev/null)" != "$(stamp)" ]; then
    # What machines of the system before have left prepared goes with it.
    rm -f "$TO/stamp" "$TO"/state-*.img
    kernel
    root_image
    first
    stamp >"$TO/stamp"
    say "the machines' system is in $TO: Linux $VERSION, OpenZFS $(chroot "$TO/root" dpkg-query -W -f '${Version}' zfsutils-linux)"
fi
