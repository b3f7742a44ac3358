#!/bin/bash
# Three "pods" of redis.sh and sentinel.sh in network namespaces of their own, then what happens when they are killed.
# Usage, inside `unshare --net --mount --pid --fork --mount-proc`: three_pods.sh SCRIPTS WORK CLIENT... Prints KEY=VALUE
# lines; CLIENT is a command that asks Redis as the gateway does.
set -eu
scripts=$1 work=$2
shift 2
mount --make-rprivate /
mkdir -p /run/netns /run/secrets /run/redis /data
mount -t tmpfs none /run/netns
mount -t tmpfs none /run/secrets
mkdir /run/secrets/redis
echo sesame > /run/secrets/redis/password
{ cat /etc/hosts; for n in 0 1 2; do echo "10.9.0.1$n redis-$n.redis"; done; } > "$work/hosts"
mount --bind "$work/hosts" /etc/hosts
ip link add br0 type bridge
ip addr add 10.9.0.1/24 dev br0
ip link set br0 up

declare -A running
start() {
    for script in sentinel redis; do
        ip netns exec "p$1" unshare --uts --mount sh -c "mount --make-rprivate / && hostname redis-$1 \
            && mount --bind '$work/data$1' /data && mount -t tmpfs none /run/redis && exec sh '$scripts/$script.sh'" \
            >> "$work/$script$1.log" 2>&1 &
        running[$script$1]=$!
    done
}
stop() { kill -9 "${running[redis$1]}" "${running[sentinel$1]}"; wait "${running[redis$1]}" "${running[sentinel$1]}" 2> /dev/null || true; }
cli() { timeout 2 redis-cli --no-auth-warning -a sesame -h "redis-$1.redis" "${@:2}" 2> /dev/null || true; }
primary() { timeout 2 redis-cli -h "redis-$1.redis" -p 26379 sentinel get-master-addr-by-name graduand 2> /dev/null | head -n 1 | cut -c7 || true; }
# Waits until the primary that Sentinel $1 names takes a write; sets `now` to it, and fails after a minute.
writable() {
    for _ in $(seq 120); do
        now=$(primary "$1")
        if [ -n "$now" ] && [ "$now" != "${2:-}" ] && [ "$(cli "$now" set "$3" "$3")" = OK ]; then return; fi
        sleep 0.5
    done
    exit 1
}
# Waits until pod $1 has the role $2.
becomes() { for _ in $(seq 60); do [ "$(cli "$1" role | head -n 1)" = "$2" ] && return; sleep 0.5; done; exit 1; }

# A Sentinel sees replicas at its next look only, every 10 s; before that it cannot bring them along in a failover.
knows_all() {
    for _ in $(seq 60); do
        [ "$(timeout 2 redis-cli -h "redis-$1.redis" -p 26379 sentinel replicas graduand | grep -c '^runid$')" = 2 ] && return
        sleep 0.5
    done
    exit 1
}

for n in 0 1 2; do
    ip netns add "p$n"
    ip link add "v$n" type veth peer name eth0 netns "p$n"
    ip link set "v$n" master br0 up
    ip netns exec "p$n" ip addr add "10.9.0.1$n/24" dev eth0
    ip netns exec "p$n" ip link set eth0 up
    ip netns exec "p$n" ip link set lo up
    mkdir -p "$work/data$n"
    start "$n"
done
writable 1 "" first
echo "first_primary=$now"
becomes 1 slave
becomes 2 slave
knows_all 1
knows_all 2
echo "without_password=$(timeout 2 redis-cli -h redis-0.redis get first)"

stop 0
writable 1 0 second
echo "second_primary=$now"
echo "kept=$(cli "$now" get first)"
echo "gateway_sees=$("$@" first)"
start 0
becomes 0 slave
for _ in $(seq 60); do [ "$(cli 0 get second)" = second ] && break; sleep 0.5; done
echo "copied=$(cli 0 get second)"

before=$now
for n in 0 1 2; do stop "$n"; done
for n in 0 1 2; do start "$n"; done
writable 0 "" third
echo "gateway_sees_at_last=$("$@" third)"
echo "after_all_were_killed=$([ "$now" = "$before" ] && echo same || echo other)"
echo "still_kept=$(cli "$now" get second)"
for n in 0 1 2; do stop "$n"; done
