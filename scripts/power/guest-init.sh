#!/bin/sh
# Everything that runs in a virtual machine of the power test, from the first mount to Flocker.
#
# vda is the system, never written; vdb has the Flocker program; vdc keeps Docker's and Flocker's state;
# vdd is the pool. What is on the kernel's command line as flk.NAME=VALUE says who this machine is.
# Commands come over the network at port 99: a shell for each connection.

start_flocker() {
    for role in agent proxy; do
        setsid /program/flocker "$role" --state-dir /data/flocker \
            >>"/data/log/$role.log" 2>&1 </dev/null &
    done
}
say() { echo "guest: $(cut -d' ' -f1 /proc/uptime) $*" >/dev/console; }

# Told by the test, once this machine has joined the cluster.
if [ "$1" = joined ]; then
    touch /data/joined
    sync
    start_flocker
    exit
fi

# Asks the engine without starting a program as big as its own command.
engine() { printf 'GET %s HTTP/1.0\r\n\r\n' "$1" | socat -t 20 - UNIX-CONNECT:/var/run/docker.sock; }
if [ "$1" = engine ]; then
    engine "$2"
    exit
fi

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc 2>/dev/null
mount -t sysfs sysfs /sys 2>/dev/null
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for directory in /dev/shm /run /tmp /root /opt /var/log /var/tmp /etc/docker; do
    [ -d "$directory" ] && mount -t tmpfs tmpfs "$directory"
done
mkdir -p /run/lock /run/netns
mount --make-rshared /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for word in $(cat /proc/cmdline); do
    case $word in flk.*=*) export "FLK_${word#flk.}" ;; esac
done

ulimit -n 65536
say "network"
busybox hostname "$FLK_name"
modprobe virtio_net
ip link set lo up
ip addr add "$FLK_address/24" dev eth0
ip link set eth0 up
ip route add default via "$FLK_gateway"
socat TCP-LISTEN:99,fork,reuseaddr EXEC:/bin/sh &

say "disks"
mount -t ext4 -o ro,noload /dev/vdb /program
if [ "$FLK_new" = yes ] && ! mount -t ext4 /dev/vdc /data 2>/dev/null; then
    say "a new machine"
    mkfs.ext4 -q -E lazy_itable_init=1,lazy_journal_init=1 /dev/vdc
fi
mountpoint -q /data || mount -t ext4 /dev/vdc /data || say "the disk of the machine's state cannot be mounted"
mkdir -p /data/docker /data/containerd /data/flocker /data/log
case $FLK_storage in
    zfs)
        modprobe zfs
        if [ "$FLK_new" = yes ]; then
            # zpool's own partitioning waits for udev, which there is none of.
            printf 'n\np\n1\n\n\nw\n' | busybox fdisk -b 4096 /dev/vdd >/dev/null 2>&1
            zpool create -f -o ashift=12 -o cachefile=none -O mountpoint=/run/tank tank /dev/vdd1
        else
            zpool import -f -N -o cachefile=none -d /dev tank
        fi
        zfs mount -a
        ;;
    btrfs)
        modprobe btrfs
        [ "$FLK_new" != yes ] || mkfs.btrfs -q -f /dev/vdd
        mkdir -p /run/tank
        mount -t btrfs /dev/vdd /run/tank
        ;;
esac

say "engine"
echo '{}' >/etc/docker/daemon.json
mkdir -p /run/containerd
cat >/run/containerd/config.toml <<'X'
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs"]
X
# Both are started again when they end, as systemd does it on a server.
while :; do containerd --config /run/containerd/config.toml --root /data/containerd --log-level warn >>/data/log/containerd.log 2>&1; sleep 2; done &
while :; do
    rm -f /run/docker.pid
    dockerd --data-root /data/docker --storage-driver overlay2 --log-level warn \
        --exec-opt native.cgroupdriver=cgroupfs --containerd /run/containerd/containerd.sock \
        --host unix:///var/run/docker.sock >>/data/log/docker.log 2>&1
    sleep 2
done &

(
    until engine /_ping 2>/dev/null | grep -q OK; do sleep 0.5; done
    say "the engine answers"
) &

if [ -e /data/joined ]; then start_flocker; fi
say "up"
# It waits for every process whose parent has ended.
exec busybox init
