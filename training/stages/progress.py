"""Progress of a run, shown all the time: a bar on a terminal, plain lines elsewhere. Writes to standard error only."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol, TextIO


class Progress(Protocol):
    """What a run tells whoever watches it."""

    def say(self, text: str) -> None:
        """One line about what happens now."""

    def step(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps, rows or requests are done; `text` has figures."""

    def close(self) -> None:
        """The run is over, well or not."""


def figures(loss: float, tokens_per_s: float, left_s: float) -> str:
    """The figures of a step as people read them."""
    minutes, seconds = divmod(round(left_s), 60)
    return f"loss {loss:.4f}  {tokens_per_s:,.0f} tokens/s  {minutes}:{seconds:02d} left"


class Lines:
    """Plain lines, at most one every `every_s` seconds, besides the first and the last step."""

    def __init__(self, stream: TextIO, every_s: float = 5.0) -> None:
        self._stream = stream
        self._every_s = every_s
        self._next_s = 0.0

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def step(self, done: int, total: int, text: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s or done == total:
            self._next_s = now_s + self._every_s
            self.say(f"step {done}/{total}  {text}".rstrip())

    def close(self) -> None:
        pass


class Bar:
    """A bar on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[figures]}", markup=False))
        self._bar = RichProgress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=None, figures="", visible=False)
        self._bar.start()

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def step(self, done: int, total: int, text: str) -> None:
        self._bar.update(self._task, completed=done, total=total, figures=text, visible=True)

    def close(self) -> None:
        self._bar.stop()


class Silent:
    """Says nothing: one of several processes is enough to tell."""

    def say(self, text: str) -> None:
        pass

    def step(self, done: int, total: int, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def for_terminal() -> Progress:
    """A bar if a person watches, lines otherwise."""
    return Bar() if sys.stderr.isatty() else Lines(sys.stderr)


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """`for_terminal`, closed at the end."""
    progress = for_terminal()
    try:
        yield progress
    finally:
        progress.close()
