"""No file of the project refers to one that is not there."""

import doctest
from pathlib import Path

import pytest

from tests.house import mentions
from tests.house.imports import ROOT


def test_everything_that_is_named_is_there() -> None:
    found = [(str(said.path.relative_to(ROOT)), name) for said in mentions.prose() for name in mentions.missing(said)]
    assert found == []


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in mentions.pages()])
def test_every_link_leads_somewhere(page: Path) -> None:
    assert mentions.dead_links(page) == []


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("see docs/dataplane.md and `gateway/cli.py`", []),
        ("see docs/design.md", ["docs/design.md"]),
        ("the keys are those of design.md", ["design.md"]),
        ("research/style.md says why", ["research/style.md"]),
        ("`gating.py` judges", ["gating.py"]),
        ("gateway.config.read, graduand.gateway.errors", []),
        ("kept by gateway.logs.nowhere", ["gateway.logs.nowhere"]),
        ("[a link](nowhere.md) is another test's", []),
    ],
)
def test_what_is_missing_is_told(text: str, gone: list[str]) -> None:
    assert mentions.missing(mentions.Text(ROOT / "x.md", text)) == gone


def test_a_dead_link_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[here](page.md) [web](https://example.org/x.md) [there](gone.md#part)")
    assert mentions.dead_links(page) == ["gone.md"]


def test_examples() -> None:
    assert doctest.testmod(mentions).failed == 0
