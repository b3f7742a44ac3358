"""Writes that leave together: of one turn of the event loop the first leaves at once, the others back to back at its end.

A write wakes whoever reads at its other end, and to wake a core that sleeps costs more than anything else that a request
does here. Sent one after the other, all but the first find it awake; a request that is alone waits for nothing. Order
within a connection is kept, and closing sends what is held first. What waits is bounded: by connections, for the first
one's sake, and by bytes, so that a slow reader is noticed (`pause_writing`) before more is read for it.
"""

import asyncio
import logging
from typing import Any, Final

MOST_CONNECTIONS: Final = 32
MOST_BYTES: Final = 16 << 10

logger = logging.getLogger("graduand")


class Outbox:
    """Of one event loop: the connections that hold something back in this turn."""

    __slots__ = ("_has_begun", "_waiting", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: list[Outlet] = []
        self._has_begun = False

    def begins(self) -> bool:
        """Whether nothing has been written in this turn yet; from now on something has."""
        if self._has_begun:
            return False
        self._has_begun = True
        self.loop.call_soon(self.end_turn)
        return True

    def add(self, outlet: "Outlet") -> None:
        """Send what it holds with the others'."""
        self._waiting.append(outlet)
        if len(self._waiting) >= MOST_CONNECTIONS:
            self._flush()

    def end_turn(self) -> None:
        """Send everything that is held."""
        self._has_begun = False
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outlet in waiting:
            try:
                outlet.flush()
            except Exception as error:  # whatever is wrong with one connection, the others' bytes leave
                logger.error("a connection is closed: what was to be sent on it could not be", exc_info=error)
                outlet.abort()


class Outlet:
    """A transport whose writes leave with those of others."""

    __slots__ = ("_held", "_outbox", "_transport")

    def __init__(self, transport: Any, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send the bytes when the turn ends, or now if they are its first or many."""
        held = self._held
        self._held = held + data if held else data
        if len(self._held) > MOST_BYTES or self._outbox.begins():
            self.flush()
        elif not held:
            self._outbox.add(self)

    def flush(self) -> None:
        """Send what is held. A connection that was lost in the meantime has told its protocol."""
        held = self._held
        if held:
            self._held = b""
            if not self._transport.is_closing():
                self._transport.write(held)

    def write_eof(self) -> None:
        """Send what is held, and that nothing follows."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what is held is lost."""
        self._held = b""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._transport.is_closing())

    def pause_reading(self) -> None:
        """As a transport's."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As a transport's."""
        self._transport.resume_reading()

    def socket(self) -> Any:
        """The socket below; None if there is none any more."""
        return self._transport.get_extra_info("socket")
