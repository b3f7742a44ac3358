"""The page docs/metrics.md, made from what is declared: `python -m graduand.monitoring.reference` writes it."""

from collections.abc import Sequence
from pathlib import Path

from graduand.monitoring.metrics import FAMILIES, Family

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
HEAD = """\
# Metrics

Made from `monitoring/metrics.py` by `python -m graduand.monitoring.reference`; do not edit. `GET /metrics` on the admin plane has
them all, summed over the gateway's processes. Labels are only `route`, `arm`, `adapter`, `upstream`, `outcome` and
`monitor`; a family has at most 2,000 series, what comes after is counted under `other`. A gauge about which nothing is known
(a dead engine's, a rollout's that has ended) is not exported. [observability.md](observability.md) says how they are used.

| metric | kind | labels | meaning |
|---|---|---|---|
"""
ENDING = {"counter": "_total", "gauge": "", "histogram": ""}


def page(families: Sequence[Family]) -> str:
    """The whole page."""
    return HEAD + "".join(_row(family) for family in families)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in family.buckets)}." if family.buckets else ""
    return f"| `{family.name}{ENDING[family.kind]}` | {family.kind} | {labels} | {family.help}{buckets} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(FAMILIES))
    print(PAGE)
