"""Adapters that were trained elsewhere: admitted on numbers if somebody vouches for them, and then added like any other."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.adapters import adapter, admission
from graduand.gateway.errors import AdapterError, ConfigError
from graduand.training.admission.admit import Request, admit
from graduand.training.admission.verdict import Distances, judge
from tests.gateway.adapters.kinds import KINDS, make
from tests.training.quiet import Quiet


@pytest.fixture(params=["plain", "rank 4", "a regular expression", "scales by a pattern"])
def foreign(request: pytest.FixtureRequest, tiny_base: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    make(KINDS[request.param], tiny_base, folder)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_admitted_when_somebody_vouches(foreign: Path, tiny_base: Path, tiny_rows: Path, engine: str) -> None:
    with pytest.raises(AdapterError, match="--vouched-by YOU.*its training is unknown"):
        admission.require(adapter.read(foreign))
    request = Request(foreign, base=str(tiny_base), engine=engine, data=tiny_rows, rows=2)
    refused = admit(request, Quiet())
    assert "--vouched-by" in {check["name"]: check["detail"] for check in refused.record["checks"]}["record"]
    made = admit(Request(**_of(request) | {"vouched_by": "ada"}), Quiet())
    assert [check for check in made.record["checks"] if not check["passed"]] == []
    assert made.record["training"]["known"] is False
    assert made.record["training"]["vouched_by"] == "ada"
    rows = next(check for check in made.record["checks"] if check["name"] == "rows")
    assert rows["figures"].keys() == {"adapter", "base", "stopped"}
    assert admission.require(adapter.read(foreign))["training"]["vouched_by"] == "ada"


def _of(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__slots__}


def test_what_is_not_known_has_to_be_said(tiny_base: Path, tiny_rows: Path, engine: str, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    make(KINDS["plain"], tiny_base, folder)
    with pytest.raises(ConfigError, match="nothing says which rows.*--data"):
        admit(Request(folder, base=str(tiny_base), engine=engine, vouched_by="ada"), Quiet())
    settings = json.loads((folder / adapter.CONFIG_FILE).read_text())
    for base, said in (
        (None, "does not name the base"),
        ("/models/of/another/machine", "is not here.*name it with --base"),
    ):
        (folder / adapter.CONFIG_FILE).write_text(json.dumps(settings | {"base_model_name_or_path": base}))
        with pytest.raises(ConfigError, match=said):
            admit(Request(folder, engine=engine, data=tiny_rows, vouched_by="ada"), Quiet())


@pytest.mark.filterwarnings("ignore")
def test_another_template_and_another_start_are_not_admitted(
    tiny_base: Path, tiny_rows: Path, engine: str, tmp_path: Path
) -> None:
    request: dict[str, Any] = {
        "base": str(tiny_base),
        "engine": engine,
        "data": tiny_rows,
        "rows": 2,
        "vouched_by": "ada",
    }

    def failed(folder: Path) -> dict[str, str]:
        checks = admit(Request(folder, **request), Quiet()).record["checks"]
        return {each["name"]: each["detail"] for each in checks if not each["passed"]}

    for name, check in (("PiSSA", "format"), ("a module that lacks", "coverage"), ("no targets", "format")):
        folder = tmp_path / name.replace(" ", "-")
        make(KINDS[name], tiny_base, folder)
        assert check in failed(folder)
    folder = tmp_path / "templated"
    make(KINDS["plain"], tiny_base, folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert failed(folder)["beside"].startswith("chat_template.jinja has a chat template that differs from the base's")


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        (Distances(0.001, 0.001, 1.2, 1.2), []),
        (Distances(2.0, 2.8, 4.9, 5.0), ["same base", "right one"]),
        (Distances(0.001, 0.001, 1.2, 1.2, base_moved=1.4), ["same base", "right one"]),
        (Distances(0.3, 0.1, 1.2, 1.2), ["same base", "right one"]),
        (Distances(0.1, 0.3, 1.2, 1.2), ["right one"]),
    ],
)
def test_a_measurement_that_is_spoilt_passes_nothing(found: Distances, failed: list[str]) -> None:
    assert [check.name for check in judge(found) if not check.passed] == failed
