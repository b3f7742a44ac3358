"""W3C trace context: which trace a request belongs to, and the header that tells the upstream.

https://www.w3.org/TR/trace-context/. A header that is malformed is as good as none: a new trace begins. Pure but for the
random ids; spans are made elsewhere, from the log's records, so a traced request costs a few ids and nothing more.
"""

import random
import re
from typing import Final, NamedTuple

_HEADER: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_bits = random.Random(random.SystemRandom().getrandbits(128)).getrandbits


class Trace(NamedTuple):
    """One span's place: its trace, its own id and its parent's. `span_id` is empty where no spans are made."""

    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool

    def child(self) -> "Trace":
        """A span below this one."""
        return Trace(self.trace_id, new_span_id(), self.span_id, self.sampled)

    def header(self, span_id: str) -> bytes:
        """The line that makes an upstream's spans children of `span_id`."""
        return b"traceparent: 00-%b-%b-%b\r\n" % (
            self.trace_id.encode(), span_id.encode(), b"01" if self.sampled else b"00"
        )  # fmt: skip


def new_span_id() -> str:
    """Eight random bytes in hex, never all zero."""
    return f"{_bits(64) or 1:016x}"


def begin(header: bytes | None, share: float) -> Trace:
    """The gateway's own span: below the client's if it sent a context, else of a new trace.

    A client's decision to sample stands. Of new traces `share` is sampled, by the trace's id.
    """
    client = read(header)
    if client is not None:
        return Trace(client.trace_id, new_span_id(), client.parent_id, client.sampled)
    number = _bits(128) or 1
    return Trace(f"{number:032x}", new_span_id(), None, (number & 0xFFFFFFFFFFFFFFFF) < share * 2**64)


def read(header: bytes | None) -> Trace | None:
    """What a client's header says; None without a valid one.

    >>> read(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").parent_id
    'b7ad6b7169203331'
    """
    if header is None:
        return None
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest is not None) or not trace_id.strip(b"0"):
        return None
    if not parent_id.strip(b"0"):
        return None
    return Trace(trace_id.decode(), "", parent_id.decode(), bool(int(flags, 16) & 1))
