"""The adapter gate: a good adapter passes, and each planted fault is caught by the check that names it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file, save_file

from graduand.gateway.adapters import adapter, admission
from graduand.gateway.adapters.servers import Server
from graduand.gateway.errors import AdapterError, ConfigError, GraduandError
from graduand.training.admission.admit import Admission, Request, admit
from graduand.training.admission.checks import Base, on_disk
from tests.training.quiet import Quiet

Copied = Callable[[str], Path]


def failed(made: Admission) -> dict[str, str]:
    """The checks that failed, with what they say."""
    return {check["name"]: check["detail"] for check in made.record["checks"] if not check["passed"]}


def change_weights(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], *, signed: bool = True) -> None:
    """Rewrite the weights; `signed` makes the run's record agree, as if they had been trained so."""
    file = folder / adapter.WEIGHTS_FILE
    tensors = change(load_file(file))
    save_file(tensors, file, metadata={"format": "pt"})
    if signed:
        change_run(folder, lambda run: run | {"digest": adapter.digest(folder)})


def change_run(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / admission.RUN_FILE
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def listed(engine: str) -> set[str]:
    return {entry["id"] for entry in httpx.get(f"{engine}/models", timeout=10).json()["data"]}


def test_a_good_adapter_is_admitted_with_a_card(trained: Path, engine: str) -> None:
    made = admit(Request(trained, engine=engine), Quiet())
    assert failed(made) == {}
    figures = next(check["figures"] for check in made.record["checks"] if check["name"] == "right one")
    assert figures["to_trained"] <= figures["limit"] < figures["to_base"]
    assert admission.require(adapter.read(trained))["digest"] == trained.name.partition("@")[2]
    card = (trained / "README.md").read_text()
    assert trained.name in card
    assert "base_model: tiny" in card
    assert listed(engine) == {"tiny"}, "the engine is left as it was found"


def test_weights_changed_after_admission_are_refused(trained: Path, engine: str, copied: Copied) -> None:
    admit(Request(trained, engine=engine), Quiet())
    folder = copied(trained.name)
    change_weights(folder, lambda tensors: {name: 2 * each for name, each in tensors.items()})
    with pytest.raises(AdapterError, match="changed since.*train admit --adapter"):
        admission.require(adapter.read(folder))


def test_without_a_record_the_message_names_the_command(copied: Copied) -> None:
    folder = copied("fresh")
    (folder / admission.ADMISSION_FILE).unlink(missing_ok=True)
    with pytest.raises(AdapterError, match="was not admitted.*graduand train admit --adapter"):
        admission.require(adapter.read(folder))


@pytest.mark.parametrize("content", ["", "[]", '{"digest": 3}', '{"digest": "DIGEST", "checks": []}', "{"])
def test_rubbish_is_no_admission(copied: Copied, content: str) -> None:
    folder = copied("rubbish")
    (folder / admission.ADMISSION_FILE).write_text(content.replace("DIGEST", adapter.digest(folder)))
    with pytest.raises(AdapterError, match="train admit"):
        admission.require(adapter.read(folder))


def test_a_wrong_adapter_under_the_name_is_caught(trained: Path, engine: str, copied: Copied) -> None:
    """Somebody loaded other weights under this adapter's immutable name."""
    other = copied("other")
    change_weights(other, lambda tensors: {n: -each if "lora_A" in n else each for n, each in tensors.items()})
    post = {"lora_name": trained.name, "lora_path": str(other)}
    assert httpx.post(f"{engine}/load_lora_adapter", json=post, timeout=30).status_code == 200
    try:
        made = admit(Request(trained, engine=engine), Quiet())
    finally:
        httpx.post(f"{engine}/unload_lora_adapter", json={"lora_name": trained.name}, timeout=30)
    assert "another adapter answers under its name" in failed(made)["right one"]
    with pytest.raises(AdapterError, match="refused admission.*right one"):
        admission.require(adapter.read(trained))


def test_an_adapter_that_does_nothing_is_caught(copied: Copied, engine: str) -> None:
    folder = copied("idle")
    change_weights(folder, lambda tensors: {name: 0 * each for name, each in tensors.items()})
    found = failed(admit(Request(folder, engine=engine), Quiet()))
    assert {"trained", "applied"} <= set(found)
    assert "not applied" in found["applied"]


def test_a_missing_module_is_caught(copied: Copied, engine: str) -> None:
    folder = copied("partial")
    change_weights(folder, lambda tensors: {n: each for n, each in tensors.items() if "layers.1.mlp.up_proj" not in n})
    made = admit(Request(folder, engine=engine), Quiet())
    assert "1 of them are missing in its file (up_proj), such as model.layers.1.mlp.up_proj" in failed(made)["coverage"]
    assert made.record["engine"].startswith("none")


def test_cut_completions_are_caught(copied: Copied, engine: str) -> None:
    folder = copied("cut")
    change_run(folder, lambda run: run | {"data": run["data"] | {"cut": 3}})
    found = failed(admit(Request(folder, engine=engine), Quiet()))
    assert found == {"completions": "3 of 40 completions were cut at max_tokens: it never learned to end them"}


@pytest.mark.parametrize(("cut", "rows", "passed"), [(0, 40, True), (1, 99, False), (1, 100, True), (50, 4972, False)])
def test_one_cut_completion_in_a_hundred_is_let_pass(copied: Copied, cut: int, rows: int, passed: bool) -> None:
    folder = copied(f"cut-{cut}-{rows}")
    change_run(folder, lambda run: run | {"data": run["data"] | {"cut": cut, "rows": rows}})
    run = json.loads((folder / "run.json").read_text())
    checks = on_disk(adapter.read(folder), run, Base("tiny", "none", {}), Server.EMBEDDED)
    assert {check.name: check.passed for check in checks}["completions"] == passed


def test_a_student_that_never_stops_is_caught(copied: Copied, engine: str) -> None:
    """Much larger weights: they babble."""
    folder = copied("babble")
    change_weights(folder, lambda tensors: {n: -3 * each if "lora_B" in n else each for n, each in tensors.items()})
    assert "it never learned to stop" in failed(admit(Request(folder, engine=engine), Quiet())).get("stops", "")


def test_another_base_is_caught(copied: Copied, engine: str, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    found = failed(admit(Request(copied("based"), base=str(base), engine=engine), Quiet()))
    assert "it was trained on tiny at sha256-" in found["base"]


def test_a_record_of_other_weights_is_caught(copied: Copied, engine: str) -> None:
    folder = copied("unsigned")
    change_weights(folder, lambda tensors: {name: 2 * each for name, each in tensors.items()}, signed=False)
    assert "another adapter's" in failed(admit(Request(folder, engine=engine), Quiet()))["record"]


def test_rows_that_are_gone_must_be_given(copied: Copied, engine: str) -> None:
    folder = copied("moved")
    change_run(folder, lambda run: run | {"config": run["config"] | {"data": "gone.jsonl"}})
    with pytest.raises(ConfigError, match="--data"):
        admit(Request(folder, engine=engine), Quiet())


@pytest.mark.parametrize(
    ("url", "message"), [("nonsense", "is no URL"), ("http://127.0.0.1:9/v1", "cannot be reached")]
)
def test_an_engine_that_is_not_there_shows_at_once(copied: Copied, url: str, message: str) -> None:
    said = Quiet()
    with pytest.raises(GraduandError, match=message):
        admit(Request(copied("letters"), engine=url), said)
    assert said.said == []
