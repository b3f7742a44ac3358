"""The committed dashboards, and Grafana's part in their queries: variables and intervals put in as Grafana does it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parents[2] / "monitoring" / "grafana" / "dashboards"
LABEL_VALUES = re.compile(r"label_values\((?:(?P<selector>.+), *)?(?P<label>\w+)\)")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of one panel (or of a variable, or an annotation), as it stands in the JSON."""

    board: str
    where: str
    expr: str

    def __str__(self) -> str:
        return f"{self.board} / {self.where}: {self.expr}"


def boards() -> dict[str, Json]:
    """The committed dashboards by uid."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(board: Json) -> list[Json]:
    """All panels of a dashboard but its row titles, those inside folded rows too."""
    found = [inner for panel in board["panels"] for inner in (panel, *panel.get("panels", ()))]
    return [panel for panel in found if panel["type"] != "row"]


def queries(uid: str, board: Json) -> Iterator[Asked]:
    """All queries of a dashboard's panels."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Asked(uid, f"{panel['title']} {target['refId']}", target["expr"])


def variables(board: Json) -> list[Json]:
    """The variables that are filled by a query."""
    return [one for one in board["templating"]["list"] if one["type"] == "query"]


def substituted(expr: str, values: dict[str, str], *, scrape_s: int, step_s: int, range_s: int) -> str:
    """The query that Prometheus gets. $__rate_interval is max(step + scrape interval, 4 * scrape interval)."""
    built_in = {
        "__rate_interval": f"{max(step_s + scrape_s, 4 * scrape_s)}s", "__interval": f"{step_s}s",
        "__range": f"{range_s}s", "__range_s": str(range_s),
    }  # fmt: skip
    for name, value in sorted({**values, **built_in}.items(), key=lambda pair: -len(pair[0])):
        expr = expr.replace(f"${{{name}}}", value).replace(f"${name}", value)
    if left := re.findall(r"\$\w+|\$\{\w+\}", expr):
        raise ValueError(f"{left} is left in {expr}")
    return expr


def one_of(values: list[str]) -> str:
    """How a multi-valued variable with these chosen values is put into a regular expression."""
    escaped = [re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
