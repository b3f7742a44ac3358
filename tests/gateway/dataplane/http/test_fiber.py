"""Fibers: woken inside the callback, no wake lost, errors thrown where they wait."""

import asyncio
import gc
import weakref

import pytest

from graduand.gateway.dataplane.http.fiber import Fiber, Signal, sleep


class Story:
    """What happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed: list[BaseException] = []

    def fiber(self, coroutine: "object") -> Fiber:
        return Fiber(coroutine, self.failed.append)  # type: ignore[arg-type]


def test_wake_runs_the_fiber_at_once() -> None:
    story, signal = Story(), Signal()

    async def run() -> None:
        story.lines.append("begun")
        await signal
        story.lines.append("woken")
        await signal
        story.lines.append("again")

    story.fiber(run()).resume()
    assert story.lines == ["begun"]
    signal.wake()
    assert story.lines == ["begun", "woken"]
    signal.wake()
    assert story.lines[-1] == "again"
    assert not story.failed


def test_a_wake_that_nobody_waits_for_is_kept_once() -> None:
    story, signal = Story(), Signal()
    signal.wake()
    signal.wake()

    async def run() -> None:
        await signal
        story.lines.append("first")
        await signal
        story.lines.append("second")

    story.fiber(run()).resume()
    assert story.lines == ["first"]


def test_throw_reaches_the_waiting_place_only() -> None:
    story, signal, later = Story(), Signal(), Signal()

    async def run() -> None:
        try:
            await signal
        except KeyError:
            story.lines.append("thrown")
            await later
            story.lines.append("after")

    fiber = story.fiber(run())
    fiber.resume()
    fiber.throw(KeyError())
    assert story.lines == ["thrown"]
    signal.wake()  # of the wait that was given up: must not end another
    assert story.lines == ["thrown"]
    later.wake()
    assert story.lines == ["thrown", "after"]
    fiber.throw(KeyError())  # it has ended
    fiber.resume()
    assert not story.failed


def test_throw_while_it_runs_does_nothing() -> None:
    story, signal = Story(), Signal()
    fibers: list[Fiber] = []

    async def run() -> None:
        await signal
        fibers[0].throw(KeyError())
        story.lines.append("unharmed")

    fibers.append(story.fiber(run()))
    fibers[0].resume()
    signal.wake()
    assert story.lines == ["unharmed"]
    assert not story.failed


def test_an_uncaught_error_is_handed_over() -> None:
    story, error = Story(), ValueError("x")

    async def run() -> None:
        raise error

    story.fiber(run()).resume()
    assert story.failed == [error]


@pytest.mark.parametrize("thrown", [False, True])
def test_sleep(thrown: bool) -> None:
    story = Story()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def run() -> None:
            try:
                await sleep(loop, 0.01)
                story.lines.append("slept")
            except KeyError:
                story.lines.append("thrown")

        fiber = story.fiber(run())
        fiber.resume()
        if thrown:
            fiber.throw(KeyError())
        await asyncio.sleep(0.03)

    asyncio.run(main())
    assert story.lines == ["thrown" if thrown else "slept"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_fiber_that_has_ended_keeps_nobody(fails: bool) -> None:
    class Owner:
        fiber: Fiber

        def failed(self, error: BaseException) -> None:
            pass

        async def run(self) -> None:
            if fails:
                raise RuntimeError

    owner = Owner()
    gone = weakref.ref(owner)
    owner.fiber = Fiber(owner.run(), owner.failed)
    gc.collect()
    gc.disable()
    try:
        owner.fiber.resume()
        del owner
        assert gone() is None
    finally:
        gc.enable()
