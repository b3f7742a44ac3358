#!/bin/sh
# Starts a Sentinel. It keeps its file on the pod's disk: after a restart of everything it still knows who was the primary.
set -eu
self=$(hostname)
password=$(cat /run/secrets/redis/password)
config=/data/sentinel.conf

# A name that cannot be resolved ends a Sentinel; redis-0's can be as soon as that pod has an address.
until getent hosts redis-0.redis > /dev/null; do echo "redis-0.redis has no address yet"; sleep 1; done

if [ ! -s "$config" ]; then
    cat > "$config" << END
port 26379
dir /tmp
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $self.redis
sentinel monitor graduand redis-0.redis 6379 2
sentinel down-after-milliseconds graduand 5000
sentinel failover-timeout graduand 15000
END
fi
# The password may be another one than at the last start.
grep -v '^sentinel auth-pass ' "$config" > "$config.new"
echo "sentinel auth-pass graduand $password" >> "$config.new"
mv "$config.new" "$config"
exec redis-server "$config" --sentinel
