"""A rollout's lines of evidence, read back from a log in their order."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from graduand.gateway.logs import places
from graduand.gateway.logs.reading import Reader, Source

Json = dict[str, Any]
DIGITS = 12


def lines(source: Source, rollout: str) -> Iterator[Json]:
    """Every line of a rollout, parts by the number of their first line. Raises LogDamaged, TargetError."""
    beginning = f"{quote(rollout, safe='')}-"

    def number(key: str) -> str:
        """The number with which the name of a part of this rollout goes on; empty for another's."""
        name = key.rpartition("/")[2]
        found = name.removeprefix(beginning)[:DIGITS]
        return found if name.startswith(beginning) and found.isdecimal() and len(found) == DIGITS else ""

    for file in Reader(source, places.EVIDENCE).files(order=number):
        yield from (line for line in file.records if line.get("rollout") == rollout)
