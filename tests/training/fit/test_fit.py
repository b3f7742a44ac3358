"""Adapters from rows: same bytes for the same inputs, also after a kill; only what servers accept; fails closed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from graduand.gateway.adapters import adapter, servers
from graduand.gateway.errors import AdapterError
from graduand.training.fit import lora
from graduand.training.fit.fit import FitError, fit
from graduand.training.fit.run_config import FitConfig, fit_config


class Watch:
    """Records progress; `kill_at` raises after that step, as a kill would end the run."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self._kill_at = kill_at

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, done: int, total: int, text: str) -> None:
        self.steps.append(done)
        assert "tokens/s" in text
        if done == self._kill_at:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def config(tiny_base: Path, tiny_rows: Path, out: Path, **changes: object) -> FitConfig:
    values = {
        "data": tiny_rows,
        "out": out,
        "name": "letters",
        "base": str(tiny_base),
        "rank": 8,
        "rate": 5e-3,
        "batch": 8,
    }
    # One thread: with more, a busy machine makes steps this small a hundred times slower.
    return FitConfig.model_validate(values | {"checkpoint_steps": 3, "threads": 1} | changes)


def test_same_inputs_same_bytes_and_servable(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    first = fit(config(tiny_base, tiny_rows, tmp_path / "a"), Watch())
    second = fit(config(tiny_base, tiny_rows, tmp_path / "b"), Watch())
    other = fit(config(tiny_base, tiny_rows, tmp_path / "c", seed=1), Watch())
    for name in (adapter.CONFIG_FILE, adapter.WEIGHTS_FILE):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    assert first.path.name == second.path.name != other.path.name
    files = adapter.read(first.path)
    assert first.path.name == f"letters@{files.digest}"
    assert servers.problems(files, servers.Server.LORAX) == []
    assert len(files.shapes) == 2 * 2 * len(adapter.TARGET_MODULES)  # layers x (A, B) x modules
    assert files.config["base_model_name_or_path"] == "tiny"
    assert files.config["revision"].startswith("sha256-")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.path.name]  # no checkpoint left behind


def test_record_of_the_run(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    fitted = fit(config(tiny_base, tiny_rows, tmp_path, epochs=30), Watch())
    run = json.loads((fitted.path / lora.RUN_FILE).read_text())
    assert run["steps"] == len(run["losses"]) == 150
    assert run["losses"][0] > 3  # random weights
    assert run["losses"][-1] < 0.3
    assert run["config"]["seed"] == 0
    assert run["config"]["rate"] == 5e-3
    assert len(run["data"]["sha256"]) == 64
    assert run["data"]["rows"] == 40
    assert set(run["versions"]) == {"torch", "transformers", "peft", "safetensors"}


@pytest.mark.parametrize("kill_at", [1, 3, 7])
def test_interrupted_run_ends_with_the_same_bytes(
    tiny_base: Path, tiny_rows: Path, tmp_path: Path, kill_at: int
) -> None:
    settings = config(tiny_base, tiny_rows, tmp_path / "killed", dropout=0.1)  # dropout: the random state counts too
    whole = fit(settings.model_copy(update={"out": tmp_path / "whole"}), Watch())
    with pytest.raises(KeyboardInterrupt):
        fit(settings, Watch(kill_at))
    again = Watch()
    resumed = fit(settings, again)
    assert again.steps[0] == kill_at - kill_at % 3 + 1
    assert resumed.path.name == whole.path.name
    assert resumed.run["losses"] == whole.run["losses"]


# Dies of its own hand: whoever watched from another process might stand still until the run has ended.
FIT_AND_DIE = """
import os, pathlib, signal, sys, threading, time

def die(folder):
    while not list(folder.glob("*.pt")):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=die, args=(pathlib.Path(sys.argv.pop(1)),), daemon=True).start()
from graduand.gateway.cli import main
sys.exit(main())
"""


def test_sigkill_and_the_same_run_again(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    """The command dies of SIGKILL in the middle; the same configuration then goes on to what a whole run gives."""
    settings = config(tiny_base, tiny_rows, tmp_path / "killed", epochs=25)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", FIT_AND_DIE, str(settings.out / ".letters.fit")]
    process = subprocess.run([*command, "train", "fit", "--config", str(file)], env=environment, timeout=150)
    assert process.returncode == -signal.SIGKILL
    again = Watch()
    resumed = fit(settings, again)
    whole = fit(settings.model_copy(update={"out": tmp_path / "whole"}), Watch())
    assert 1 < again.steps[0] < 125
    assert resumed.path.name == whole.path.name


def test_finished_run_is_found_again_and_not_repeated(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    settings = config(tiny_base, tiny_rows, tmp_path)
    first, again = fit(settings, Watch()), Watch()
    assert fit(settings, again).path == first.path
    assert again.steps == []
    assert "already made" in again.said[0]


def test_damaged_adapter_is_not_taken_for_a_finished_run(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    settings = config(tiny_base, tiny_rows, tmp_path)
    first = fit(settings, Watch())
    with (first.path / adapter.WEIGHTS_FILE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(AdapterError, match="cannot place the adapter"):
        fit(settings, Watch())


def test_checkpoint_of_another_configuration_is_not_continued(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(config(tiny_base, tiny_rows, tmp_path), Watch(4))
    other = Watch()
    fit(config(tiny_base, tiny_rows, tmp_path, seed=5), other)
    assert other.steps[0] == 1


def test_loss_that_is_no_number_writes_nothing(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="lower the rate"):
        fit(config(tiny_base, tiny_rows, tmp_path, alpha=10**30), Watch())
    assert not list(tmp_path.glob("letters@*"))


def test_early_stop_keeps_the_best_adapter(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    """Validation rows that say the opposite get worse as the others are learned."""
    opposite = tmp_path / "opposite.jsonl"
    swap = str.maketrans("AB", "BA")
    rows = [json.loads(line) for line in tiny_rows.read_text().splitlines()]
    opposite.write_text(
        "".join(json.dumps(r | {"completion": r["completion"].translate(swap)}) + "\n" for r in rows[:8])
    )
    settings = config(tiny_base, tiny_rows, tmp_path / "a", validation=opposite, patience=2, epochs=40)
    stopped = fit(settings, Watch())
    losses = stopped.run["validation"]
    assert stopped.run["stopped_early"]
    assert losses.index(min(losses)) == len(losses) - 3
    assert stopped.run["steps"] == 5 * len(losses)
    with pytest.raises(KeyboardInterrupt):
        fit(settings.model_copy(update={"out": tmp_path / "b"}), Watch(stopped.run["steps"] - 1))
    again = fit(settings.model_copy(update={"out": tmp_path / "b"}), Watch())
    assert again.path.name == stopped.path.name


def test_a_curriculum_and_balanced_classes(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    easy = tmp_path / "easy.jsonl"
    easy.write_text("".join(line + "\n" for line in tiny_rows.read_text().splitlines()[:12]))
    file = tmp_path / "run.yaml"
    file.write_text(
        f"data: {tiny_rows}\nout: out\nbase: {tiny_base}\nrank: 8\nbatch_tokens: 300\nclass_weight: balanced\n"
        "threads: 1\nepochs: 1\ncurriculum:\n  - {data: easy.jsonl, epochs: 2}\n"
    )
    fitted = fit(fit_config(file, {}), Watch())
    assert fitted.run["data"]["rows"] == 52
    assert len(fitted.run["data"]["curriculum_sha256"]) == 1
    other = fit(fit_config(file, {"name": "other"}).model_copy(update={"curriculum": ()}), Watch())
    assert other.run["fingerprint"] != fitted.run["fingerprint"]
    assert other.run["steps"] < fitted.run["steps"]
