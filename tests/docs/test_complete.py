"""What is added to one of the lists of the code has its line in the pages."""

from pathlib import Path

import pytest

from graduand.gateway.dataplane.dialects.registry import DIALECTS
from graduand.monitoring.checks.written import KNOWN

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("check", KNOWN)
def test_every_output_check_is_explained(check: str) -> None:
    assert f"`{check}`" in (DOCS / "checks.md").read_text("utf-8")


@pytest.mark.parametrize("path", [path.decode() for path in DIALECTS])
def test_every_path_of_an_api_is_named(path: str) -> None:
    assert any(f"`{path}`" in page.read_text("utf-8") for page in DOCS.glob("*.md"))
