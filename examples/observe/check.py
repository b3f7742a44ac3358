"""Does every variable and every panel of the dashboards find data in a Prometheus? Asked as Grafana asks."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from examples.observe.dashboards import LABEL_VALUES, Asked, Json, boards, queries, substituted, variables
from examples.observe.prometheus import Prometheus

# As if a person looked at the last minute.
SHOWN_S = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One query and how many series (of a variable: values) it brought; `last` is the newest value of the first one."""

    asked: Asked
    series: int
    last: str

    @property
    def empty(self) -> bool:
        """Whether a person would see nothing."""
        return not self.series


def findings(prometheus: Prometheus, prefer: str = "") -> Iterator[Finding]:
    """All boards' variables and panels. Of many-valued variables all is chosen, of others `prefer` if it is there."""
    for uid, board in boards().items():
        known: dict[str, str] = {}
        for variable in variables(board):
            found = values(prometheus, variable, known)
            yield Finding(Asked(uid, f"${variable['name']}", variable["query"]), len(found), ", ".join(found[:3]))
            single = prefer if prefer in found else next(iter(found), "")
            known[variable["name"]] = ".+" if variable["multi"] else single
        for asked in queries(uid, board):
            yield _finding(prometheus, asked, known)


def values(prometheus: Prometheus, variable: Json, known: dict[str, str]) -> list[str]:
    """What can be chosen of a variable, `known` being chosen of those before it."""
    parts = LABEL_VALUES.fullmatch(variable["query"])
    if parts is None:
        raise ValueError(f"not a query of label_values: {variable['query']}")
    selector = _put_in(prometheus, parts["selector"], known)
    found: list[str] = prometheus.ask(f"label/{parts['label']}/values", **{"match[]": selector})
    return found


def _finding(prometheus: Prometheus, asked: Asked, known: dict[str, str]) -> Finding:
    now, query = time.time(), _put_in(prometheus, asked.expr, known)
    result = prometheus.ask("query_range", query=query, start=now - SHOWN_S, end=now, step=prometheus.every_s)["result"]
    finite = [[value for _, value in one["values"] if math.isfinite(float(value))] for one in result]
    lasts = [one[-1] for one in finite if one]
    return Finding(asked, len(lasts), f"{float(lasts[0]):.4g}" if lasts else "")


def _put_in(prometheus: Prometheus, expr: str, known: dict[str, str]) -> str:
    return substituted(expr, known, scrape_s=prometheus.every_s, step_s=prometheus.every_s, range_s=SHOWN_S)


def table(found: list[Finding]) -> Table:
    """For people; what is empty stands out."""
    shown = Table("dashboard", "variable or panel", "series", "first", title="What the dashboards' queries find")
    for one in found:
        style = "red" if one.empty else ""
        shown.add_row(
            one.asked.board.removeprefix("graduand-"), one.asked.where, str(one.series), one.last, style=style
        )
    return shown
