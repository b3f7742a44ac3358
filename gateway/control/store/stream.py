"""The stream through which the replicas' log records come to the one controller that leads.

Every replica's controller reads its own segments and appends the records of live rollouts; how far it has read is stored
by the same script, so each line comes into the stream once, whoever is killed when. The stream is bounded: while nobody
takes from it, replicas wait, and the log on their disks is the queue. Nothing is lost by that but time.
"""

from collections.abc import Container
from pathlib import Path

import orjson

from graduand.gateway.logs import tail
from graduand.gateway.logs.tail import Batch, Line, Place
from graduand.gateway.model import reader
from graduand.gateway.model.routing import DEFERRED
from graduand.gateway.state.redis_hashes import META, PREFIX, told
from graduand.gateway.state.redis_store import RedisStore

EVIDENCE = "evidence"
STREAM = PREFIX + EVIDENCE
MOST_WAITING = 5_000
TAKEN_AT_ONCE = 1_500

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


class Evidence:
    """One replica's end of the stream, and the leader's."""

    def __init__(self, state: RedisStore) -> None:
        self._state = state
        self._append = state.client.register_script(APPEND)
        self._read_by_us = f"{PREFIX}tail:{state.replica}"

    def share(self, folder: Path) -> bool:
        """Append what is new in the segments of `folder`; whether there is more."""
        self._state.version()  # or it is not the store that is known
        hashes = self._state.hashes
        since = [float(at) for at in hashes.all("rollouts:live").values()]
        if not since:
            return False
        known = self.read_to()
        batch = tail.look(folder, known, min(since))
        if not batch.lines:
            return False
        # Asked for after the reading: a rollout that began meanwhile may have records among these.
        live = hashes.all("rollouts:live").keys()
        lines = [line for one in batch.lines if (line := _wanted(one, live)) is not None]
        places = [part for name, end in batch.offsets.items() for part in (name, known.get(name, 0), end)]
        with told():
            answer = self._append(
                keys=[META, STREAM, self._read_by_us],
                args=[hashes.known, MOST_WAITING, len(batch.offsets), *places, *lines],
            )
        self._forget_gone(folder, known)
        return bool(answer == b"done" and batch.more)

    def read_to(self) -> dict[str, int]:
        """By segment of this replica, up to where it was shared."""
        with told():
            found = self._state.client.hgetall(self._read_by_us)
        return {name.decode(): int(end) for name, end in found.items()}

    def read(self, after: int) -> Batch:
        """What the stream has behind number `after`."""
        with told():
            found = self._state.client.xrange(STREAM, min=f"{after + 1}-0", count=TAKEN_AT_ONCE)
        lines = [Line(Place(EVIDENCE, int(name.partition(b"-")[0]) - 1, len(one[b"line"])), one[b"line"])
                 for name, one in found]  # fmt: skip
        ends = {EVIDENCE: lines[-1].place.offset + 1} if lines else {}
        return Batch(lines, ends, more=len(lines) == TAKEN_AT_ONCE)

    def forget(self, end: int) -> None:
        """Remove what was read, when the transaction is written."""
        self._state.hashes.trim(EVIDENCE, f"{end + 1}-0")

    def _forget_gone(self, folder: Path, known: dict[str, int]) -> None:
        gone = [name for name in known if not (folder / "segments" / name).exists()]
        if gone:
            with told():
                self._state.client.hdel(self._read_by_us, *gone)


def _wanted(line: Line, live: Container[str]) -> bytes | None:
    """The line if it belongs to a live rollout, without the texts of requests that nothing is compared with."""
    record = reader.parsed(line.data)
    if record is None or record["rollout"] not in live:
        return None
    compared = record.get("copy_wanted") or record.get("reason") == DEFERRED
    if record.get("role") != "served" or compared:
        return line.data
    return orjson.dumps({**record, "request_json": None, "response_json": None})
