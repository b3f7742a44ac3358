"""The dashboards as files: fresh, whole, and of one mind with the metrics, the alerts and the runbooks."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.observe.dashboards import boards, panels, queries, substituted, variables
from graduand.monitoring import runbooks
from graduand.monitoring.metrics import FAMILIES, LABELS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules"
NAME = re.compile(r"\bgraduand_[a-z0-9_]+")
SELECTOR = re.compile(r"\b(graduand_[a-z0-9_]+)\{([^}]*)\}")
# The first metric after a `by`, `on` or `ignoring` is one that it is about.
GROUPED = re.compile(r"\b(?:by|on|ignoring) \(([^)]+)\)[^{]*?\b(graduand_[a-z0-9_]+)")


def rules() -> list[dict[str, Any]]:
    return [rule for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]
            for rule in group["rules"]]  # fmt: skip


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def families(expr: str) -> set[str]:
    """The metrics that a query names, without the endings that Prometheus' formats add, and without recording rules."""
    return {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in NAME.findall(re.sub(r"[\w]+:[\w:]+", "", expr))}


def test_the_committed_json_is_what_the_code_makes() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed: make setup")
    from graduand.monitoring.grafana.__main__ import files

    for path, text in files().items():
        assert path.read_text() == text, f"{path.name} is stale: python -m graduand.monitoring.grafana"
    assert {path.stem for path in files()} == boards().keys()


@pytest.mark.parametrize("uid", boards())
def test_every_panel_says_what_it_shows(uid: str) -> None:
    board = boards()[uid]
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["description"][-1] in ".?", panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert any(link["tags"] == ["graduand"] for link in board["links"])
    assert "ALERTS" in board["annotations"]["list"][0]["expr"]


@pytest.mark.parametrize("uid", boards())
def test_panels_fill_their_rows_and_do_not_overlap(uid: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in boards()[uid]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("uid", boards())
def test_variables_are_used_and_known(uid: str) -> None:
    board = boards()[uid]
    names = {one["name"] for one in variables(board)}
    asked = " ".join(one.expr for one in queries(uid, board))
    assert all(f"${name}" in asked for name in names)
    for one in queries(uid, board):
        substituted(one.expr, dict.fromkeys(names, "x"), scrape_s=15, step_s=15, range_s=3600)
        for function in re.findall(r"(?:rate|increase)\([^()]*\[([^\]]+)\]", one.expr):
            assert function in ("$__rate_interval", "$__range"), one


def test_legends_name_labels_that_the_query_keeps() -> None:
    for uid, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
                    kept = re.findall(r"by \(([^)]*)\)", target["expr"])
                    assert label in {*LABELS, "le"}
                    # Without an aggregation, the metric's own labels are there.
                    assert not kept or any(label in names.split(", ") for names in kept), (uid, target)


def test_runbooks() -> None:
    """Each alert has a page of its own, every page is of an alert, and panels link to pages that are there."""
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "runbooks").glob("Graduand*.md")}
    assert pages.keys() == {rule["alert"] for rule in alerts()}
    for rule in alerts():
        name = rule["alert"]
        assert rule["annotations"]["runbook_url"].endswith(f"/{name}.md")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert pages[name].startswith(f"# {name}\n")
        assert re.findall(r"^## (.+)$", pages[name], re.M) == ["Meaning", "Impact", "Look at", "Do"], name
    links = [link["url"] for board in boards().values() for panel in panels(board) for link in panel.get("links", ())]
    assert links
    assert {re.sub(r".*/(\w+)\.md", r"\1", url) for url in links} <= pages.keys()


def test_the_runbooks_are_at_one_address_and_can_be_moved() -> None:
    there = runbooks.address(runbooks.ALERTS.read_text())
    for path in (runbooks.ALERTS, *runbooks.OTHERS):
        text = path.read_text()
        elsewhere = runbooks.moved(text, "https://elsewhere.invalid/pages/")
        assert elsewhere != text, path
        assert runbooks.address(elsewhere) == "https://elsewhere.invalid/pages"
        assert runbooks.moved(elsewhere, there) == text


def test_queries_name_metrics_that_there_are() -> None:
    named = {name for uid, board in boards().items() for one in queries(uid, board) for name in families(one.expr)}
    named |= {name for rule in rules() for name in families(rule["expr"])}
    undeclared = named - {family.name for family in FAMILIES}
    assert not undeclared, f"no family is called so: {sorted(undeclared)}"
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set(
        re.findall(r"\b\w+:[\w:]+", " ".join(one.expr for uid, b in boards().items() for one in queries(uid, b)))
    )
    used |= set(re.findall(r"\b\w+:[\w:]+", " ".join(rule["expr"] for rule in rules())))
    assert used <= recorded


def labels_of(name: str) -> set[str]:
    """The labels of a metric by the name that a query has for it."""
    (name,) = families(name)
    return {"le", *next(family.labels for family in FAMILIES if family.name == name)}


def test_a_query_asks_a_metric_only_for_labels_that_it_has() -> None:
    """A label that no series has selects nothing, and Prometheus says so to nobody."""
    asked = [one.expr for uid, board in boards().items() for one in queries(uid, board)]
    asked += [rule["expr"] for rule in rules()]
    found = 0
    for expr in asked:
        for name, inside in SELECTOR.findall(expr):
            found += 1
            assert set(re.findall(r"(\w+)\s*(?:=|!)", inside)) <= labels_of(name), expr
        for names, name in GROUPED.findall(expr):
            found += 1
            assert set(names.split(", ")) <= labels_of(name), expr
    assert found > 100


def test_alerts_and_pages_name_labels_that_there_are() -> None:
    for rule in alerts():
        known = {label for name in families(rule["expr"]) for label in labels_of(name)} | {"instance", "job"}
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= known, rule["alert"]
    for path in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]:
        for name, inside in SELECTOR.findall(path.read_text()):
            bare = re.sub(r'"[^"]*"', "", inside)
            assert set(re.findall(r"\w+", bare)) <= labels_of(name), (path.name, name, inside)


def test_runbooks_name_panels_that_there_are() -> None:
    titles = {
        board["title"].partition(": ")[2]: [panel["title"] for panel in panels(board)] for board in boards().values()
    }
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        for title, board in re.findall(r"\*([A-Z][^*]+)\* on \*([^*]+)\*", path.read_text()):
            assert any(one.startswith(title) for one in titles[board]), (path.name, title, board)
