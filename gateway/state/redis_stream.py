"""The stream of lines through which all replicas reach the one that leads, in Redis.

Each replica appends what it has read of its own files; how far that was is stored by the same script, so each line comes
into the stream once, whoever is killed when. The stream is bounded: while nobody takes from it, replicas wait.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graduand.gateway.state.redis_hashes import META, PREFIX, RedisHashes, state_errors

STREAM = PREFIX + "evidence"
MOST_WAITING = 5_000

# KEYS: meta, the stream, the replica's offsets. ARGV: store id, bound, number of files, then file, from and to of each,
# then the lines. Refused as a whole if the store is another, the stream is full, or somebody else has read these lines.
APPEND = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 'id' end
if #ARGV > 3 + 3 * ARGV[3] and redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 'full' end
local lines = 4 + 3 * ARGV[3]
for i = 4, lines - 1, 3 do
  if (redis.call('HGET', KEYS[3], ARGV[i]) or '0') ~= ARGV[i + 1] then return 'read' end
end
for i = 4, lines - 1, 3 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2]) end
for i = lines, #ARGV do
  local number = redis.call('HINCRBY', KEYS[1], 'evidence', 1)
  redis.call('XADD', KEYS[2], number .. '-0', 'line', ARGV[i])
end
return 'done'
"""


class Stream:
    """One replica's end of the stream; the leader takes from it, too."""

    def __init__(self, client: Any, hashes: RedisHashes, replica: str) -> None:
        self._client = client
        self._hashes = hashes
        self._append = client.register_script(APPEND)
        self._read_by_us = f"{PREFIX}tail:{replica}"

    def read_to(self) -> dict[str, int]:
        """By file of this replica, up to where its lines were appended."""
        with state_errors():
            found = self._client.hgetall(self._read_by_us)
        return {name.decode(): int(end) for name, end in found.items()}

    def append(self, known: Mapping[str, int], ends: Mapping[str, int], lines: Iterable[bytes]) -> bool:
        """Append lines of files that were read from `known` to `ends`; False if nothing was done: the stream is full, or
        another process of this replica was faster."""
        places = [part for name, end in ends.items() for part in (name, known.get(name, 0), end)]
        with state_errors():
            answer = self._append(
                keys=[META, STREAM, self._read_by_us],
                args=[self._hashes.known, MOST_WAITING, len(ends), *places, *lines],
            )
        return bool(answer == b"done")

    def forget(self, files: Sequence[str]) -> None:
        """These files are there no longer."""
        if files:
            with state_errors():
                self._client.hdel(self._read_by_us, *files)

    def after(self, number: int, most: int) -> list[tuple[int, bytes]]:
        """Lines with their numbers, which begin at 1 and have no gaps."""
        with state_errors():
            found = self._client.xrange(STREAM, min=f"{number + 1}-0", count=most)
        return [(int(name.partition(b"-")[0]), one[b"line"]) for name, one in found]

    def trim(self, number: int) -> None:
        """Remove what stands up to `number`; part of the transaction."""
        self._hashes.trim("evidence", f"{number + 1}-0")
