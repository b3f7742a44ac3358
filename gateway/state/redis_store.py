"""The run-time state in Redis, for several replicas of the gateway that share it.

A store has an id. A process that has known one never takes an emptied or another Redis for it: it reads and writes nothing
there until the store is back, or until somebody accepts the new one (`graduand state accept`), which carries the last
routes over. So weights are never reset by a Redis that has lost its data.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from graduand.gateway.logs import places
from graduand.gateway.model.routes import Route, RouteTable, Settings
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.redis_client import connect
from graduand.gateway.state.redis_hashes import META, PREFIX, RedisHashes, state_errors
from graduand.gateway.state.redis_stream import Stream
from graduand.gateway.state.replica import Copy, ReplicaFolder
from graduand.gateway.state.store import Mark, NothingLost, Override, StateStore, table_of

FORGOTTEN_S = 3600.0
ACCEPT = "restore its backup, or run `graduand state accept` to go on with the last routes and without its rollouts"

FOUND = """
local id = redis.call('HGET', KEYS[1], 'id')
if id or redis.call('HEXISTS', KEYS[1], 'lost') == 1 then return id or '' end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'version', 1)
return ARGV[1]
"""
SERVES = """
if redis.call('HGET', KEYS[2], 'id') ~= ARGV[3] then return end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. redis.call('TIME')[1])
"""


class StoreLost(StateError):
    """Redis does not hold the store that was known; nothing is read from it or written to it."""


class StoreEmpty(StateError):
    """Redis holds nothing, and this replica knows of nothing that it should hold."""


class RedisStore(StateStore):
    """The store in one Redis database. It connects when it is first used."""

    heartbeat_s = 1.0
    # A worker that was not heard of for so long is not waited for: it has died, or is cut off and serves its last table.
    gone_s = 30.0
    events_kept = 10_000
    # Before an empty Redis becomes a new store, replicas that know an old one have this time to say that it was lost.
    settle_s = 1.0

    def __init__(self, client: Any, replica: ReplicaFolder) -> None:
        self.hashes: RedisHashes
        super().__init__(RedisHashes(client))
        self.client = client
        self.replica: str = replica.name
        self.stream = Stream(client, self.hashes, replica.name)
        self._replica = replica
        self._found = client.register_script(FOUND)
        self._serves = client.register_script(SERVES)
        self._last: Copy | None = None
        copy = replica.copy()
        if copy is not None:
            self.hashes.known = copy.store

    @classmethod
    def of(cls, settings: Settings) -> "RedisStore":
        """The store that the configuration names."""
        return cls(connect(settings.state, settings.state_password), ReplicaFolder(places.spool(settings)))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def now(self) -> float:
        """Redis's clock: replicas' own may differ."""
        with state_errors():
            seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1e6

    def found(self) -> None:
        """Make an empty Redis a new store, unless it was a store that somebody knows."""
        try:
            self._meet()
        except StoreEmpty:
            time.sleep(self.settle_s)
            with state_errors():
                self._found(keys=[META], args=[uuid.uuid4().hex])
            self._meet()
        self.link_trail()

    def risks(self) -> list[str]:
        """What of Redis's own configuration lets it lose data."""
        try:
            with state_errors():
                info = self.client.info()
        except StateError:  # not everybody may ask
            return []
        found = []
        if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
            found.append(f"maxmemory-policy is {info['maxmemory_policy']}, which throws state away: set noeviction")
        if not info.get("aof_enabled"):
            found.append("appendonly is off: a Redis that is killed goes back to its last snapshot")
        return found

    def mark(self) -> Mark:
        """Another one after every change, and after a failover that has lost some."""
        return super().mark() if self.hashes.changing else self._meet()

    def snapshot(self) -> tuple[int, dict[str, Override]]:
        """Version and overrides of one moment. A full Redis refuses MULTI."""
        found = super().snapshot()
        self._last = Copy(self.hashes.known, *found)
        return found

    def keep(self) -> None:
        """Keep the last snapshot on disk."""
        if self._last is not None:
            self._replica.keep(self._last)

    def last_known(self, routes: Mapping[str, Route]) -> RouteTable:
        """The copy on disk; without one the teacher answers everything, which is never wrong."""
        copy = self._replica.copy()
        if copy is not None:
            return table_of(copy.version, copy.overrides, routes)
        return RouteTable(0, {name: replace(one, mode="teacher", version=0) for name, one in routes.items()})

    def serves(self, worker: str, version: int) -> None:
        """A worker of this replica says which version of the table it serves by; it is forgotten if it stops saying so."""
        with state_errors():
            line = [f"{self.replica}/{worker}", version, self.hashes.known]
            self._serves(keys=[PREFIX + "served", META], args=line)

    def leave(self, worker: str) -> None:
        """A worker ends and is not waited for any more."""
        with state_errors():
            self.client.hdel(PREFIX + "served", f"{self.replica}/{worker}")

    def all_serve(self, version: int, workers: int) -> bool:
        """Whether every worker of every replica that was heard of lately serves by this version or a later one."""
        served = self.served().values()
        return len(served) >= workers and all(one >= version for one in served)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside."""
        self._meet()
        with super().transaction():
            yield

    def accept(self, who: str, why: str) -> list[str]:
        """Take the Redis of now for the store, with the routes that this replica knows; their names.

        One transaction, so that no worker sees the new store without them. Raises NothingLost if this is the store.
        """
        with state_errors():
            found = self.client.hmget(META, ["id", "lost", "replaces"])
        store, lost, replaces = (one.decode() if one is not None else "" for one in found)
        copy = self._replica.copy()
        old = copy.store if copy is not None else lost
        if not old or (old == store and not lost) or old in replaces.split(","):
            raise NothingLost("there is nothing to accept: this Redis holds the store that is known")
        hashes = self.hashes
        hashes.known = store
        with hashes.transaction():
            hashes.set("meta", "id", store or uuid.uuid4().hex)
            hashes.set("meta", "replaces", f"{replaces},{old}" if replaces else old)
            hashes.unset("meta", ["lost"])
            there = self.overrides()
            kept = {} if copy is None else {name: one for name, one in copy.overrides.items() if name not in there}
            for name, one in kept.items():
                self.put(name, replace(one, version=one.version + 1))
            hashes.set("meta", "version", max(self.version(), copy.version if copy is not None else 0))
            self.changed("state", who, {"accept": old, "routes": sorted(kept), "why": why})
            accepted = hashes.get("meta", "id") or b""
        hashes.known = accepted.decode()
        return sorted(kept)

    def _meet(self) -> Mark:
        """The store's mark, if it is the store that is known."""
        with state_errors():
            found = self.client.hmget(META, ["id", "version", "lost", "replaces", "mark"])
        store, version, lost, replaces, mark = (one.decode() if one is not None else "" for one in found)
        known = self.hashes.known
        accepted = bool(known) and known in replaces.split(",")
        if store and (store == known or accepted or not (known or lost)):
            self.hashes.known = store
            return int(version), mark.encode()
        if store and known:
            raise StoreLost(f"this Redis holds another store than the one that was known: {ACCEPT}")
        if known:
            with state_errors():
                self.client.hsetnx(META, "lost", known)
            raise StoreLost(f"Redis has come back empty: {ACCEPT}")
        if lost:
            raise StoreLost(f"Redis has lost the store that other replicas still serve by: {ACCEPT}")
        raise StoreEmpty("this Redis is empty")

    def _heard(self) -> dict[str, tuple[int, float]]:
        found = super()._heard()
        old = [worker for worker, (_, age_s) in found.items() if age_s > FORGOTTEN_S]
        if old:
            with state_errors():
                self.client.hdel(PREFIX + "served", *old)
        return found
