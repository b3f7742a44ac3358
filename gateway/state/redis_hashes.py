"""Hashes in Redis: all writes of a transaction in one script, or none. See gateway.state.hashes for what each method promises.

Invariants: who writes holds the one lock, whose loss (a pause, a failover) undoes the transaction as a whole; the commit is
refused if this is not the store that was known (it was emptied, or is another one).
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from graduand.gateway.state.hashes import BufferedHashes, StateError

PREFIX = "graduand:"
LOCK, META = PREFIX + "lock", PREFIX + "meta"
LOCK_S = 5.0
RENEW_S = 1.0
BUSY_S = 8.0
COPY_MS = 200
LOOK_AGAIN_S = 0.003

COMMIT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lock' end
if (redis.call('HGET', KEYS[2], 'id') or '') ~= ARGV[2] then return 'id' end
local i = 3
while ARGV[i] do
  local op, key = ARGV[i], ARGV[i + 1]
  if op == 'set' then redis.call('HSET', key, ARGV[i + 2], ARGV[i + 3]); i = i + 4
  elseif op == 'unset' then redis.call('HDEL', key, ARGV[i + 2]); i = i + 3
  elseif op == 'drop' then redis.call('UNLINK', key); i = i + 2
  else redis.call('XTRIM', key, 'MINID', ARGV[i + 2]); i = i + 3 end
end
redis.call('DEL', KEYS[1])
return 'done'
"""
UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end"


@contextmanager
def state_errors() -> Iterator[None]:
    """Redis's errors as ours."""
    try:
        yield
    except redis.RedisError as error:
        raise StateError(f"Redis: {error or type(error).__name__}") from error


class RedisHashes(BufferedHashes):
    """`known` is the id that a commit expects of the store."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client
        self._commit = client.register_script(COMMIT)
        self._unlock = client.register_script(UNLOCK)
        self._renew = client.register_script(RENEW)
        self._mine = ""
        self._renewed_at = 0.0
        self._trimmed: dict[str, str] = {}
        self.known = ""

    @property
    def changing(self) -> bool:
        """Whether a transaction is under way."""
        return bool(self._mine)

    def _fetch(self, key: str, fields: list[str]) -> list[bytes | None]:
        with state_errors():
            self._keep_lock()
            found: list[bytes | None] = self._client.hmget(PREFIX + key, fields)
        return found

    def _fetch_all(self, key: str) -> dict[str, bytes]:
        with state_errors():
            self._keep_lock()
            return {field.decode(): value for field, value in self._client.hgetall(PREFIX + key).items()}

    def trim(self, key: str, first: str) -> None:
        """Remove a stream's entries before `first`."""
        assert self._mine, "only inside a transaction"
        self._trimmed[key] = first

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside; waits for others that write."""
        assert not self._mine, "a transaction is under way already"
        mine = secrets.token_hex(8)
        self._take_lock(mine)
        self._mine, self._renewed_at = mine, time.monotonic()
        try:
            yield
            if self._changed or self._dropped or self._trimmed:
                self._write()
            else:
                self._release()
        except BaseException:
            with suppress(StateError):  # it ends by itself
                self._release()
            raise
        finally:
            self._mine = ""
            self._trimmed = {}
            self._forget()

    def _take_lock(self, mine: str) -> None:
        until = time.monotonic() + BUSY_S
        with state_errors():
            while not self._client.set(LOCK, mine, nx=True, px=round(LOCK_S * 1000)):
                if time.monotonic() >= until:
                    raise StateError(f"somebody else has been writing to Redis for {BUSY_S:.0f} s; try again")
                time.sleep(LOOK_AGAIN_S)

    def _keep_lock(self) -> None:
        if self._mine and time.monotonic() - self._renewed_at > RENEW_S:
            self._renew(keys=[LOCK], args=[self._mine, round(LOCK_S * 1000)])
            self._renewed_at = time.monotonic()

    def _release(self) -> None:
        with state_errors():
            self._unlock(keys=[LOCK], args=[self._mine])

    def _write(self) -> None:
        with state_errors():
            answer = self._commit(keys=[LOCK, META], args=[self._mine, self.known, *self._commands()])
        if answer == b"lock":
            raise StateError("writing to Redis took too long or Redis failed over: nothing was changed; try again")
        if answer == b"id":
            raise StateError("this Redis is not the store that was known any more: nothing was changed")
        if "version" in self._changed.get("meta", {}):
            self._wait_for_copy()

    def _wait_for_copy(self) -> None:
        """A route was changed: if the primary dies now, the one that follows should know it. Never a condition."""
        with suppress(redis.RedisError):
            if self._client.info("replication").get("connected_slaves"):
                self._client.wait(1, COPY_MS)

    def _commands(self) -> Iterator[str | bytes]:
        for key in self._dropped:
            yield from ("drop", PREFIX + key)
        for key, fields in self._changed.items():
            for field, value in fields.items():
                yield from ("unset", PREFIX + key, field) if value is None else ("set", PREFIX + key, field, value)
        for key, first in self._trimmed.items():
            yield from ("trim", PREFIX + key, first)
