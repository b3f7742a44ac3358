"""Coroutines driven straight from protocol callbacks, without a trip through the event loop.

An asyncio task is woken by scheduling it; a fiber is woken by running it, inside the very callback that brought the
data. That saves two scheduled callbacks a request and one a streamed chunk, and keeps an exchange linear code. A fiber
may await `Signal`s only; asyncio awaitables need a task.

Invariants: a signal has at most one waiter; waking a signal that nobody waits for is remembered, so no wake is lost.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Signal:
    """Something that a fiber waits for. `wake()` runs the waiter at once, or the next waiter later."""

    __slots__ = ("_fiber", "_woken")

    def __init__(self) -> None:
        self._fiber: Fiber | None = None
        self._woken = False

    def wake(self) -> None:
        """Resume the waiting fiber, or let the next wait return at once."""
        fiber = self._fiber
        if fiber is None:
            self._woken = True
        else:
            self._fiber = None
            fiber.resume()

    def __await__(self) -> Generator["Signal", None, None]:
        if not self._woken:
            yield self
        self._woken = False


class Fiber:
    """Runs one coroutine to its end. `failed` gets an exception that the coroutine did not catch.

    A fiber that has ended holds neither: whoever keeps it would otherwise be kept by it, and the request's body with them.
    """

    __slots__ = ("_coroutine", "_failed", "_waiting")

    def __init__(self, coroutine: Coroutine[Signal, None, None], failed: Callable[[BaseException], None]) -> None:
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._failed: Callable[[BaseException], None] | None = failed
        self._waiting: Signal | None = None

    def resume(self) -> None:
        """Run until the next signal or the end; start with this."""
        self._waiting = None
        self._step(None)

    def throw(self, error: BaseException) -> None:
        """Raise `error` where the coroutine waits; does nothing once it has ended or while it runs."""
        signal = self._waiting
        if signal is not None:
            signal._fiber = None
            self._waiting = None
            self._step(error)

    def _step(self, error: BaseException | None) -> None:
        coroutine = self._coroutine
        if coroutine is None:
            return
        try:
            signal = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration:
            self._coroutine = self._failed = None
        except BaseException as uncaught:
            failed, self._coroutine, self._failed = self._failed, None, None
            if failed is not None:
                failed(uncaught)
        else:
            self._waiting = signal
            signal._fiber = self


async def sleep(loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
    """Wait inside a fiber."""
    signal = Signal()
    timer = loop.call_later(delay_s, signal.wake)
    try:
        await signal
    finally:
        timer.cancel()
