"""The audit trail's hash chain: each event's hash covers the event and the hash before it, so none can be changed, taken out,
added or moved afterwards without all later hashes being others.

    content(n) = SHA-256(n "\\n" event as stored)        hash(n) = SHA-256(hash(n - 1) "\\n" content(n))

with hash(0) empty and hashes as hexadecimal digits. Events keep their form, and hashes stand beside them: an older version of
Graduand that shares the store writes events without; they get theirs at the next change, in their order. Where the oldest
events are not kept, the chain begins with the hash of the first that is.
"""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

from graduand.gateway.state.hashes import Hashes

KEY = "trail"


@dataclass(frozen=True, slots=True)
class Link:
    """One event as it is stored, its number, and its hash."""

    number: int
    event: str
    hash: str


def content(number: int, event: str) -> str:
    """The hash of an event alone."""
    return hashlib.sha256(f"{number}\n{event}".encode()).hexdigest()


def after(previous: str, content_hash: str) -> str:
    """The hash of the event with this content after one with the hash `previous`."""
    return hashlib.sha256(f"{previous}\n{content_hash}".encode()).hexdigest()


def is_behind(hashes: Hashes) -> bool:
    """Whether events have no hash yet."""
    linked, newest = hashes.many("meta", ["linked", "events"])
    return int(linked or 0) < int(newest or 0)


def link(hashes: Hashes) -> None:
    """Give every event that has none its hash; only inside a transaction."""
    linked, newest = hashes.number("meta", "linked"), hashes.number("meta", "events")
    before = (hashes.get("meta", "linked:hash") or b"").decode()
    numbers = [str(number) for number in range(linked + 1, newest + 1)]
    for number, event in zip(numbers, hashes.many("events", numbers), strict=True):
        if event is not None:  # the oldest are not kept
            before = after(before, content(int(number), event.decode()))
            hashes.set(KEY, number, before)
    hashes.set("meta", "linked", newest)
    hashes.set("meta", "linked:hash", before)


def links(hashes: Hashes, first: int) -> list[Link]:
    """The links from number `first` to the newest, in order; those that are kept."""
    numbers = [str(number) for number in range(max(1, first), hashes.number("meta", "linked") + 1)]
    found = zip(numbers, hashes.many("events", numbers), hashes.many(KEY, numbers), strict=True)
    return [
        Link(int(number), event.decode(), hash_.decode())
        for number, event, hash_ in found
        if event is not None and hash_ is not None
    ]


def broken(found: list[Link]) -> int | None:
    """The number of the first event, after the first, that does not follow from the one before it; None if all do."""
    for before, one in pairwise(found):
        if one.number != before.number + 1 or one.hash != after(before.hash, content(one.number, one.event)):
            return one.number
    if found and found[0].number == 1 and found[0].hash != after("", content(1, found[0].event)):
        return 1
    return None
