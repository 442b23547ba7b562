#!/bin/busybox sh
# The first program of a virtual machine: loads the disk drivers, and goes on in the root filesystem.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do
    /bin/busybox insmod "/modules/$module"
done </modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do
    /bin/busybox usleep 50000
    tries=$((tries + 1))
done
/bin/busybox mount -t ext4 -o ro,noload /dev/vda /root
exec /bin/busybox switch_root /root /sbin/guest-init
