"""Two gateways over one Redis: one of them manages the fleet, both go by it, and either may be lost."""

import json
import struct
from pathlib import Path

import pytest

from graduand.gateway.adapters import adapter
from tests.gateway.conftest import Start
from tests.gateway.fleet.engines import Engine
from tests.gateway.fleet.pair import Pair, story
from tests.gateway.redises import RedisServer
from tests.gateway.upstream import Upstream


def made(folder: Path) -> Path:
    """An adapter that any engine would take, of one layer."""
    folder.mkdir()
    (folder / adapter.CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}))
    names = [f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight" for side in "AB"]
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps(dict.fromkeys(names, entry)).encode()
    (folder / adapter.WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0))
    return folder


@pytest.mark.slow
def test_engines_and_the_manager_are_killed(
    start: Start, upstream: Upstream, engines: list[Engine], redis_server: RedisServer, tmp_path: Path
) -> None:
    path = made(tmp_path / "small")
    name = f"small@{adapter.digest(path)}"
    pair = Pair(start, redis_server, upstream.place("teacher-of-two").url, engines, name, tmp_path)
    story(pair, path)
    for engine in engines:
        asked = [path.removeprefix("/v1/") if model == name else "" for path, model in engine.asked]
        [first, second] = [asked[: engine.starts[1]], asked[engine.starts[1] :]]
        for life, comparisons in (
            (first, 6),
            (second, 3),
        ):  # at first by the gateway that registers, and by the manager
            steps = [path for path in life if path]
            proof = ["load_lora_adapter", *["completions"] * (comparisons + 1)]  # and the warming
            assert steps[: len(proof) + 1] == [*proof, "chat/completions"]
            assert set(steps[len(proof) :]) == {"chat/completions"}
