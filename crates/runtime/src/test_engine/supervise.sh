# Runs one private Docker engine for tests until standard input ends, then removes every trace of it.
# Arguments: its directory, the name of its network namespace and control group.
# Started in a session of its own, so that nothing that ends the tests ends this first.
directory=$1
name=$2

clean_up() {
    # What fails here is gone already; the rest has to go all the same.
    set +e
    rounds=0
    while pids=$(ip netns pids "$name" 2>/dev/null) && [ -n "$pids" ] && [ "$rounds" -lt 100 ]; do
        for pid in $pids; do
            # Containers are children of their shims, in network namespaces of their own.
            grep -ls "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status | cut -d / -f 3 |
                while read -r child; do kill -9 "$child" 2>/dev/null; done
            kill -9 "$pid" 2>/dev/null
        done
        rounds=$((rounds + 1))
        sleep 0.05
    done
    ip netns del "$name" 2>/dev/null
    while umount -l "$directory/shared" 2>/dev/null; do :; done
    find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} + 2>/dev/null
    rm -rf "$directory"
}
trap clean_up EXIT

set -e
ip netns add "$name"
ip -n "$name" link set lo up
mkdir -p "$directory/data" "$directory/shared"
mount -t tmpfs -o size=64m tmpfs "$directory/shared"
mount --make-rshared "$directory/shared"
echo '{}' >"$directory/daemon.json"
# The mount namespace goes with the engine's last process, and with it the engine's data.
# shellcheck disable=SC2016
nsenter --net="/run/netns/$name" unshare -m --propagation slave sh -c '
    mount -t tmpfs -o size=512m tmpfs "$1/data" &&
    exec dockerd --config-file "$1/daemon.json" --data-root "$1/data" --exec-root "$1/exec" \
        --pidfile "$1/docker.pid" --host "unix://$1/docker.sock" --cgroup-parent "/$2" \
        --exec-opt native.cgroupdriver=cgroupfs --log-level warn' \
    dockerd "$directory" "$name" </dev/null >"$directory/docker.log" 2>&1 &
read -r _ || true
