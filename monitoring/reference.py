"""The page docs/metrics.md, made from what is declared: `python -m graduand.monitoring.reference` writes it."""

from collections.abc import Sequence
from pathlib import Path

from graduand.monitoring.metrics import FAMILIES, LABELS, Family

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
HEAD = """\
# Metrics

Made from `monitoring/metrics.py` by `python -m graduand.monitoring.reference`; do not edit. `GET /metrics` on the admin plane has
them all, summed over the gateway's processes. A family has at most 2,000 series; further ones are counted under `other`.
A gauge about which nothing is known (of a dead engine, of a rollout that has ended) is not exported.
[observability.md](observability.md) says how they are used. A label means the same in every metric:

| label | holds |
|---|---|
{labels}
| metric | kind | labels | meaning |
|---|---|---|---|
"""
ENDING = {"counter": "_total", "gauge": "", "histogram": ""}


def page(families: Sequence[Family]) -> str:
    """The whole page."""
    labels = "".join(f"| `{label}` | {holds} |\n" for label, holds in LABELS.items())
    return HEAD.format(labels=labels) + "".join(_row(family) for family in families)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in family.buckets)}." if family.buckets else ""
    return f"| `{family.name}{ENDING[family.kind]}` | {family.kind} | {labels} | {family.help}{buckets} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(FAMILIES))
    print(PAGE)
