"""Bodies of requests as they arrive: how much of them a worker holds, and how one is put together.

Invariant: what all connections of a worker hold together stays within `MOST_HELD_BYTES` and the one body that crossed it; a
body that would cross it is refused before it is read, and no body that has begun is stopped half way for others.
"""

import zlib
from typing import Final

MAX_BODY_BYTES = 32 << 20  # as `max_body_mb` is where no file says otherwise
MOST_HELD_BYTES = 256 << 20
# A body in tiny chunks costs a call each: from so many chunks on, they must hold so many bytes on average.
MANY_PIECES, LEAST_PIECE_BYTES = 2_000, 16
# Pieces that are shorter are joined as they come: a list of them would take more memory than they do.
SHORT_PIECE_BYTES: Final = 2048
# What one round of decompression may give, so that a small body cannot become a large one at once.
INFLATE_BYTES = 1 << 20


class TooLarge(Exception):
    """A body is longer than is accepted."""


class TinyPieces(Exception):
    """A body comes in chunks of a few bytes each."""


class Undecodable(Exception):
    """A body is not what its content-encoding says."""


class Held:
    """What a worker's connections hold of bodies together; `most_each` is the longest body that is accepted."""

    __slots__ = ("_most", "bytes", "most", "most_each")

    def __init__(self, most_each: int = MAX_BODY_BYTES, most: int = MOST_HELD_BYTES) -> None:
        self.bytes = 0
        self._most = most
        self.accept(most_each)

    def accept(self, most_each: int) -> None:
        """Take bodies of up to so many bytes from now on; one that has begun is held to it as well."""
        self.most_each = most_each
        self.most = max(self._most, most_each)

    def has_room(self, length: int) -> bool:
        """Whether a body of this length may begin; of unknown length (0) whether there is any room."""
        return self.bytes + max(length, 1) <= self.most


class Body:
    """One body: `add` its pieces, then take it `whole`. `size` counts against `held` until `release`."""

    __slots__ = ("_count", "_held", "_pieces", "_reserved", "_short", "size")

    def __init__(self, held: Held) -> None:
        self._held = held
        self._pieces: list[bytes] = []
        self._short: bytearray | None = None
        self._count = 0
        self._reserved = 0
        self.size = 0

    def reserve(self, length: int) -> None:
        """Count a body of known length before it is there."""
        self._reserved = length
        self._held.bytes += length

    def add(self, data: bytes) -> None:
        """The next piece; raise TooLarge or TinyPieces."""
        length = len(data)
        self.size += length
        if self.size > self._reserved:
            self._held.bytes += self.size - self._reserved
            self._reserved = self.size
        if self.size > self._held.most_each:
            raise TooLarge
        self._count += 1
        if self._count == 1:  # as nearly always
            self._pieces.append(data)
            return
        if self._count > MANY_PIECES and self.size < self._count * LEAST_PIECE_BYTES:
            raise TinyPieces
        if length >= SHORT_PIECE_BYTES:
            self._flush()
            self._pieces.append(data)
        elif self._short is None:
            self._short = bytearray(data)
        else:
            self._short += data

    def whole(self, encoding: bytes | None) -> bytes:
        """The body, decoded; raise TooLarge or Undecodable. `encoding` is gzip, deflate or None."""
        self._flush()
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        if encoding is None:
            return body
        decoded = inflated(body, encoding, self._held.most_each)
        self._held.bytes += len(decoded) - self._reserved
        self._reserved = self.size = len(decoded)
        return decoded

    def release(self) -> None:
        """It is held no longer; more than once does no harm."""
        self._held.bytes -= self._reserved
        self._reserved = 0
        self._pieces = []
        self._short = None

    def _flush(self) -> None:
        if self._short is not None:
            self._pieces.append(bytes(self._short))
            self._short = None


def inflated(body: bytes, encoding: bytes, most: int) -> bytes:
    """A gzip or deflate body decoded, several members too; raise TooLarge beyond `most` bytes, Undecodable if it is broken."""
    pieces, size, rest = [], 0, body
    while rest:
        decoder = zlib.decompressobj(31 if encoding == b"gzip" else 15)
        while not decoder.eof:
            try:
                piece = decoder.decompress(rest, INFLATE_BYTES)
            except zlib.error as error:
                raise Undecodable(str(error)) from error
            size += len(piece)
            if size > most:
                raise TooLarge
            if not piece and not decoder.unconsumed_tail and not decoder.eof:
                raise Undecodable("it ends too early")
            pieces.append(piece)
            rest = decoder.unconsumed_tail
        rest = decoder.unused_data
    return b"".join(pieces)
