"""What to do next with each adapter on each replica, given the target, what replicas list, and the known cells. Pure.

Invariants: an adapter is asked only while it is `ready`, and it becomes ready only by being brought: loaded, proven to be
applied, warmed. It is unloaded only after it was drained. Where everything is as it should be, there is nothing to do.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from graduand.gateway.state.places import Cell

Spot = tuple[str, str]  # a replica's address and an adapter's name


@dataclass(frozen=True, slots=True)
class Sight:
    """What a replica that could be reached lists, and how many adapters it may hold."""

    listed: frozenset[str]
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `bring` (load if it is not there, prove, warm, admit) and `unload` ask the replica; `mark` only
    writes the new `cell`; `forget` drops it."""

    do: str
    replica: str
    adapter: str
    cell: Cell | None = None


def steps(
    aim: Mapping[str, Collection[str]], seen: Mapping[str, Sight | None], book: Mapping[Spot, Cell],
    drained: Collection[Spot], now: float,
) -> list[Step]:  # fmt: skip
    """The steps to take now. `seen` has every configured replica, None if it is away; `drained` are the spots that
    answer nothing any more."""
    found = [Step("forget", replica, name) for replica, name in book if replica not in seen]
    for replica, sight in seen.items():
        cells = {name: cell for (where, name), cell in book.items() if where == replica}
        if sight is None:
            found += [
                Step("mark", replica, name, Cell("away", now, "the replica cannot be reached"))
                for name, cell in cells.items()
                if cell.state != "away"
            ]
        else:
            wanted = aim.get(replica, ())
            gone = {name for where, name in drained if where == replica}
            found += _unwanted(replica, sight, cells, wanted, gone, now)
            found += _wanted(replica, sight, cells, wanted, now)
    return found


def _wanted(
    replica: str, sight: Sight, cells: Mapping[str, Cell], wanted: Collection[str], now: float
) -> Iterator[Step]:  # fmt: skip
    room = len(wanted) if sight.slots is None else sight.slots - len(sight.listed)
    for name in sorted(wanted):
        cell, there = cells.get(name), name in sight.listed
        if there and cell is not None and cell.state in ("ready", "draining"):
            if cell.state == "draining":  # it is needed after all, and was never away
                yield Step("mark", replica, name, Cell("ready", now))
            continue
        if cell is None or cell.state in ("ready", "draining", "away"):
            reason = "" if there or cell is None else "the replica does not have it any more"
            cell = Cell("missing", now, reason)
            yield Step("mark", replica, name, cell)
        if cell.state == "failed" and now < cell.retry_at():
            continue
        if there or room > 0:
            room -= not there
            yield Step("bring", replica, name)


def _unwanted(
    replica: str, sight: Sight, cells: Mapping[str, Cell], wanted: Collection[str], drained: Collection[str], now: float
) -> Iterator[Step]:  # fmt: skip
    for name, cell in sorted(cells.items()):
        if name in wanted:
            continue
        if name not in sight.listed:
            yield Step("forget", replica, name)
        elif cell.state == "ready":
            yield Step("mark", replica, name, Cell("draining", now))
        elif cell.state != "draining" or name in drained:
            yield Step("unload", replica, name)
