"""The documentation says what works: configuration is loaded, commands are parsed."""

import argparse
import json
import re
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from graduand.gateway import cli
from graduand.gateway.commands import manual
from graduand.gateway.config import read, reference
from graduand.gateway.model.keys import keys_of
from graduand.gateway.model.routes import Settings
from graduand.monitoring.metrics import FAMILIES
from graduand.rollout.spec import file as specfile
from tests.docs.blocks import PAGES, ROOT, Block, blocks, commands, named
from tests.house.mentions import LINK

# What a block that shows a part of the file only is completed with.
WHOLE: dict[str, Any] = {
    "upstreams": {
        "openai": {"kind": "openai", "base_urls": ["https://api.openai.com/v1"]},
        "gpu": {"kind": "vllm", "base_urls": ["http://127.0.0.1:8000/v1"]},
        "engine": {"kind": "vllm", "base_urls": ["http://127.0.0.1:8000/v1"]},
    },
    "routes": {
        "support-triage": {
            "teacher": {"upstream": "openai", "model": "gpt-4o"},
            "student": {"upstream": "gpu", "adapter": "support-triage@3f9c1a0b22de"},
        },
    },
}
PARSER = cli.parser()
ALERTS = ROOT / "monitoring" / "prometheus" / "rules" / "alerts.yml"
TOP = set(keys_of(Settings))


class AnySecret(Mapping[str, str]):
    """An environment in which every variable is set."""

    def __getitem__(self, name: str) -> str:
        return "a-secret"

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def completed(data: dict[str, Any]) -> dict[str, Any]:
    """A part of a configuration file made whole, so that the loader takes it."""
    upstreams = {**WHOLE["upstreams"], **data.get("upstreams", {})}
    like = WHOLE["routes"]["support-triage"]
    routes = {name: {**like, **route} for name, route in data.get("routes", WHOLE["routes"]).items()}
    return {**data, "upstreams": upstreams, "routes": routes}


def names(blocks: list[Block]) -> list[Any]:
    return [pytest.param(block, id=block.place) for block in blocks]


@pytest.mark.parametrize("block", names(blocks("yaml")))
def test_every_yaml_block_is_taken(block: Block) -> None:
    data = yaml.safe_load(block.text)
    if "apiVersion" in data:
        return  # tests/deploy holds manifests to more than this could
    if {"route", "student"} <= data.keys():
        specfile.read(data)
        return
    assert data.keys() <= TOP, f"neither configuration nor a rollout: {sorted(data.keys() - TOP)}"
    whole = data if {"upstreams", "routes"} <= data.keys() and _teachers(data) else completed(data)
    read.parse(whole, where=block.place, environ=AnySecret())


def _teachers(data: dict[str, Any]) -> bool:
    return all("teacher" in route for route in data["routes"].values())


@pytest.mark.parametrize(
    "command", [pytest.param(words, id=f"{place} {' '.join(words)[:60]}") for place, words in commands()]
)
def test_every_command_is_parsed(command: list[str]) -> None:
    try:
        PARSER.parse_args(command)
    except SystemExit as ended:
        assert ended.code == 0, f"graduand {' '.join(command)}"


@pytest.mark.parametrize(("page", "words"), [pytest.param(*one, id=" ".join(one)) for one in sorted(set(named()))])
def test_every_named_command_is_there(page: str, words: str) -> None:
    at: argparse.ArgumentParser | None = PARSER
    for word in words.split():
        subs = [one for one in at._actions if isinstance(one, argparse._SubParsersAction)] if at is not None else []
        if not subs or word.startswith("…"):
            return
        choices = [word] if "|" not in word else word.split("|")
        assert set(choices) <= subs[0].choices.keys(), f"{page}: there is no command `graduand {words}`"
        at = subs[0].choices[choices[0]]


@pytest.mark.parametrize("block", names(blocks("python")))
def test_every_python_block_compiles(block: Block) -> None:
    compile(block.text.replace("…", "..."), block.place, "exec")


def test_the_page_of_the_configuration_is_fresh() -> None:
    assert reference.PAGE.read_text() == reference.page(), "stale: python -m graduand.gateway.config.reference"


def test_the_page_of_the_commands_is_fresh() -> None:
    assert manual.PAGE.read_text() == manual.page(), "stale: python -m graduand.gateway.commands.manual"


def test_every_key_and_every_argument_is_explained() -> None:
    for page in (reference.page(), manual.page()):
        assert not [line for line in page.splitlines() if re.search(r"\| +\|$", line) and "---" not in line]


def test_every_page_is_in_the_index() -> None:
    linked = LINK.findall((ROOT / "docs" / "README.md").read_text("utf-8"))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("*.md")}
    assert pages - {"README.md"} <= set(linked)


def test_every_decision_is_in_its_index_under_a_number_of_its_own() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(page.name for page in folder.glob("[0-9]*.md"))
    assert len({name[:4] for name in pages}) == len(pages)
    assert pages == sorted(LINK.findall((folder / "README.md").read_text("utf-8")))
    assert all((folder / name).read_text("utf-8").startswith(f"# {name[:4]} ") for name in pages)


def test_every_metric_and_alert_that_is_named_is_there() -> None:
    families = {family.name for family in FAMILIES}
    alerts = set(re.findall(r"alert: (\w+)", ALERTS.read_text("utf-8")))
    text = "".join(page.read_text("utf-8") for page in PAGES)
    metrics = {
        re.sub(r"_(total|bucket|sum|count)$", "", name)
        for name in re.findall(r"`(graduand_[a-z_]+[a-z])`?[ {,.;)`]", text)
    }
    assert {name for name in metrics if name not in families} == set()
    assert set(re.findall(r"`(Graduand[A-Z]\w+)`", text)) <= alerts


def test_the_figures_of_the_sizing_are_near_those_of_the_benchmark() -> None:
    # Near: `make bench` writes other figures each time, and whoever runs it has not broken the documentation.
    cells = json.loads((ROOT / "benchmarks" / "results" / "bench.json").read_text())["cells"]

    def us(load: str, who: str = "Graduand") -> int:
        return round(statistics.median(one["cpu_us"] for one in cells[load][who]["rounds"]))

    small = us("small")
    costs = [small, us("large") - small, us("paced"), us("full"), us("small", "Graduand, shadow 100%") - small]
    text = (ROOT / "docs" / "production.md").read_text()
    table = text.partition("| cost of a request |")[2].partition("output checks")[0]
    told = [int(one) for one in re.findall(r"^\|[^|]+\| (?:\+ )?(\d+) \|", table, re.MULTILINE)]
    assert len(told) == len(costs)
    assert all(0.5 < one / cost < 2 for one, cost in zip(told, costs, strict=True)), (told, costs)
