# The steps of a move with nothing but docker and btrfs, between two filesystems of one machine.
# Arguments: a directory, begin|copy|move|end, the image, the size of each filesystem in bytes.
# `move` prints a line NAME MILLISECONDS for each step.
set -euo pipefail
home=$1 what=$2 image=$3 size=$4

case $image in
postgres*)
    inside=/var/lib/postgresql/data port=5432
    run=(-e POSTGRES_DB=shop -e POSTGRES_PASSWORD=tea-and-biscuits "$image")
    ;;
*)
    inside=/data port=6379
    run=("$image" redis-server --appendonly yes)
    ;;
esac

# State: which filesystem has the live data, how many moves were made, the snapshot that both have.
load() { read -r at number common <"$home/state"; }
save() { echo "$at $number $common" >"$home/state"; }
other() { if [ "$at" = a ]; then echo b; else echo a; fi; }

ready() {
    for _ in $(seq 6000); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        sleep 0.005
    done
    echo "nothing answers at port $port" >&2
    exit 1
}

send() { # send SNAPSHOT: to the other filesystem, from what both have
    local parent=()
    if [ "$common" != - ]; then parent=(-p "$home/$at/$common"); fi
    btrfs -q send "${parent[@]}" "$home/$at/$1" | btrfs -q receive "$home/$(other)"
}

last_us=
step() { # step [NAME]: the time since the step before
    local now_us=${EPOCHREALTIME/./}
    if [ -n "${1:-}" ]; then
        awk -v n="$1" -v t="$((now_us - last_us))" 'BEGIN { printf "%s %.1f\n", n, t / 1000 }' >>"$home/steps"
        now_us=${EPOCHREALTIME/./}
    fi
    last_us=$now_us
}

case $what in
begin)
    mkdir -p "$home/a" "$home/b"
    for side in a b; do
        truncate -s "$size" "$home/$side.img"
        mkfs.btrfs -q "$home/$side.img"
        mount -o loop "$home/$side.img" "$home/$side"
    done
    at=a number=0 common=-
    btrfs -q subvolume create "$home/a/live0"
    docker run -d --network host --name floor0 -v "$home/a/live0:$inside" "${run[@]}" >/dev/null
    save
    ready
    ;;
copy)
    load
    # Twice: the second time there is little left, as after our own rounds.
    for round in 1 2; do
        name=copy$number.$round
        btrfs -q subvolume snapshot -r "$home/$at/live$number" "$home/$at/$name"
        send "$name"
        common=$name
    done
    sync -f "$home/$(other)"
    next=$((number + 1))
    docker create --network host --name "floor$next" -v "$home/$(other)/live$next:$inside" "${run[@]}" >/dev/null
    save
    ;;
move)
    load
    next=$((number + 1))
    : >"$home/steps"
    begun_us=${EPOCHREALTIME/./}
    step
    docker stop -t 60 "floor$number" >/dev/null
    step stop
    btrfs -q subvolume snapshot -r "$home/$at/live$number" "$home/$at/final$number"
    step "final snapshot"
    send "final$number"
    step "last delta"
    btrfs -q subvolume snapshot "$home/$(other)/final$number" "$home/$(other)/live$next"
    step promote
    docker start "floor$next" >/dev/null
    step start
    ready
    step ready
    last_us=$begun_us
    step pause
    cat "$home/steps"
    docker rm "floor$number" >/dev/null
    btrfs -q subvolume delete "$home/$at/live$number" >/dev/null
    for old in "$home"/?/copy* "$home"/?/final*; do
        if [ "${old##*/}" != "final$number" ]; then btrfs -q subvolume delete "$old" >/dev/null; fi
    done
    common=final$number at=$(other) number=$next
    save
    ;;
end)
    docker rm -f $(docker ps -aq --filter name=floor) >/dev/null
    umount "$home/a" "$home/b"
    rm -rf "$home"
    ;;
esac
