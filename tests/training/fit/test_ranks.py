"""Two processes train what one would: the same losses and, but for rounding, the same weights. One of them writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from graduand.gateway.adapters import adapter
from graduand.training.fit.fit import Fitted, fit
from graduand.training.fit.ranks import Ranks
from graduand.training.fit.run_config import FitConfig
from tests.training.fit.test_fit import Watch, config

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
FIT = ("-m", "graduand", "train", "fit", "--json", "--config")
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}


def test_shares_are_all_of_a_batch() -> None:
    batch = list(range(7))
    shares = [Ranks(rank, 3).share(batch) for rank in range(3)]
    assert sorted(index for share in shares for index in share) == batch
    assert Ranks(2, 3).share([1]) == []


def _settings(tiny_base: Path, tiny_rows: Path, folder: Path) -> tuple[FitConfig, Path]:
    """A run whose batches cannot be shared evenly, and its file."""
    settings = config(tiny_base, tiny_rows, folder / "two", precision="float32", epochs=2, batch=9)
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return settings, file


def _same(alone: Fitted, together: dict[str, Any]) -> None:
    assert together["processes"] == 2
    assert together["losses"] == pytest.approx(alone.run["losses"], rel=1e-3)
    one, two = (load_file(Path(path) / adapter.WEIGHTS_FILE) for path in (alone.path, together["path"]))
    assert all(torch.allclose(one[name], two[name], atol=1e-2) for name in one)
    assert len(list(Path(together["path"]).parent.glob("letters@*"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torchrun_trains_what_one_process_trains(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    settings, file = _settings(tiny_base, tiny_rows, tmp_path)
    alone = fit(settings.model_copy(update={"out": tmp_path / "one"}), Watch())
    done = subprocess.run(
        [*TORCHRUN, "--standalone", "--nproc-per-node", "2", *FIT, str(file)],
        capture_output=True, text=True, timeout=150, check=False, cwd=tmp_path, env=ENVIRON,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    _same(alone, json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_nodes_train_what_one_process_trains(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    """Two torchruns that find each other as on the TrainJob's nodes, whose runtime tells them in these variables."""
    settings, file = _settings(tiny_base, tiny_rows, tmp_path)
    alone = fit(settings.model_copy(update={"out": tmp_path / "one"}), Watch())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    nodes = [
        subprocess.Popen(
            [*TORCHRUN, *FIT, str(file)], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**ENVIRON, **told, "PET_NODE_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [node.communicate(timeout=150) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], said[0][1][-2000:]
    assert said[1][0] == ""  # the first one tells
    _same(alone, json.loads(said[0][0]))
