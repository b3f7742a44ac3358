#!/bin/sh
# Starts Redis as what the Sentinels say that this pod is. The others' Sentinels are asked first: this pod's own may have
# slept through a failover. min-replicas-to-write keeps a primary that is cut off, or wrongly started, from taking writes.
set -eu
pods="redis-0 redis-1 redis-2"
self=$(hostname)
password=$(cat /run/secrets/redis/password)

primary=""
while [ -z "$primary" ]; do
    for pod in $(printf '%s\n' $pods | grep -v "^$self$") "$self"; do
        answer=$(timeout 2 redis-cli -h "$pod.redis" -p 26379 sentinel get-master-addr-by-name graduand 2> /dev/null | head -n 1 || true)
        case "$answer" in redis-*) primary=$answer; break ;; esac
    done
    [ -n "$primary" ] || { echo "no Sentinel answers yet"; sleep 1; }
done

config=/run/redis/redis.conf
cat > "$config" << END
port 6379
dir /data
appendonly yes
save ""
maxmemory-policy noeviction
min-replicas-to-write 1
min-replicas-max-lag 10
replica-announce-ip $self.redis
requirepass $password
masterauth $password
END
[ "$primary" = "$self.redis" ] || echo "replicaof $primary 6379" >> "$config"
echo "the primary is $primary"
exec redis-server "$config"
