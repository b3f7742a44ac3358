"""Two processes train what one would: the same losses and, but for rounding, the same weights. One of them writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from gateway.adapters import adapter
from tests.training.test_fit import Watch, config
from training.fit import fit
from training.ranks import Ranks


def test_shares_are_all_of_a_batch() -> None:
    batch = list(range(7))
    shares = [Ranks(rank, 3).share(batch) for rank in range(3)]
    assert sorted(index for share in shares for index in share) == batch
    assert Ranks(2, 3).share([1]) == []


@pytest.mark.slow
def test_torchrun_trains_what_one_process_trains(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> None:
    settings = config(tiny_base, tiny_rows, tmp_path / "two", precision="float32", epochs=2, batch=9)
    alone = fit(settings.model_copy(update={"out": tmp_path / "one"}), Watch())
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gateway",
         "train", "fit", "--config", str(file), "--json"],
        capture_output=True, text=True, timeout=150, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    together = json.loads(done.stdout)
    assert together["processes"] == 2
    assert together["losses"] == pytest.approx(alone.run["losses"], rel=1e-3)
    one, two = (load_file(Path(path) / adapter.WEIGHTS_FILE) for path in (alone.path, together["path"]))
    assert all(torch.allclose(one[name], two[name], atol=1e-2) for name in one)
    assert len(list((tmp_path / "two").glob("letters@*"))) == 1
