"""The poller against servers that answer as engines do, die, come back, and list adapters or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from graduand.gateway.config.read import parse
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.sqlite import SqliteStore
from graduand.gateway.telemetry.engines import Engines
from graduand.monitoring.metrics import Metrics, Totals, exposition
from graduand.monitoring.series import SeriesFile
from tests.gateway.upstream import Conversation, Upstream
from tests.monitoring.test_engines import LORAX, VLLM

NAME = "small@3f9c1a0b22de"
Page = dict[tuple[str, str], float]


class Engine:
    """What one place of the upstream answers."""

    answers_gets = True

    def __init__(self, page: str, *models: str) -> None:
        self.page, self.models, self.down = page, models, False

    def __call__(self, conversation: Conversation) -> None:
        path = conversation.seen.line.split(" ")[1]
        if self.down:
            conversation.reset()
        elif path.endswith("/models"):
            conversation.whole(200, {"data": [{"id": name, "parent": "base"} for name in self.models]})
        elif path.endswith("/metrics"):
            conversation.whole(200, self.page.encode())
        else:
            conversation.whole(404, {})


class Looked:
    """One gateway's poller, with a clock that the test moves."""

    def __init__(self, folder: Path, upstreams: dict[str, Any], route: dict[str, Any]) -> None:
        self.settings: Settings = parse(
            {"upstreams": upstreams, "routes": {"r": route}, "state": f"sqlite:///{folder}/state.db"},
            where="test", environ={},
        )  # fmt: skip
        self.engines = Engines(Metrics(SeriesFile(folder / "admin.series")), lambda: self.settings)
        self._folder = folder

    def at(self, now: float) -> Page:
        self.engines.look(now)
        page = exposition(Totals(self._folder)).decode()
        return {
            (sample.name.removeprefix("graduand_"), ",".join(sorted(sample.labels.values()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


@pytest.fixture
def two(upstream: Upstream, tmp_path: Path) -> tuple[Looked, Engine, Engine]:
    """Two replicas of one vLLM upstream; the second does not list the adapter."""
    first, second = Engine(VLLM, NAME, "other@000000000000"), Engine(VLLM)
    urls = [upstream.place(f"e{number}", engine).url + "/v1" for number, engine in enumerate((first, second))]
    upstreams = {
        "gpu": {"kind": "vllm", "base_urls": urls, "gpu_hour": 36},
        "openai": {"kind": "openai", "base_urls": ["http://127.0.0.1:9/v1"]},
    }
    route = {
        "teacher": {"upstream": "openai", "model": "gpt-4o"}, "student": {"upstream": "gpu", "adapter": NAME},
        "mode": "canary",
    }  # fmt: skip
    return Looked(tmp_path, upstreams, route), first, second


def test_replicas_are_added_up(two: tuple[Looked, Engine, Engine]) -> None:
    page = two[0].at(0)
    engine = {name.removeprefix("engine_"): value for (name, labels), value in page.items() if labels == "gpu"}
    assert {key: value for key, value in engine.items() if not key.startswith(("first", "time", "output"))} == {
        "replicas": 2, "up": 2, "requests_running": 10, "requests_waiting": 14, "cache_usage_ratio": 0.75,
        "adapters_loaded": 2, "adapters_busy": 3, "adapter_slots": 4, "gpu_dollars_total": 0,
    }  # fmt: skip
    assert page["adapter_wanted", f"gpu,{NAME}"] == 2
    assert page["adapter_resident", f"gpu,{NAME}"] == 1


def test_a_dead_engine_vanishes_and_nothing_is_counted_twice(two: tuple[Looked, Engine, Engine]) -> None:
    looked, first, second = two
    looked.at(0)
    first.page = VLLM.replace("vllm:generation_tokens_total{engine=\"0\",model_name=\"base\"} 100.0",
                              "vllm:generation_tokens_total{engine=\"0\",model_name=\"base\"} 130.0")  # fmt: skip
    page = looked.at(5)
    assert page["engine_output_tokens_total", "gpu"] == 30
    assert page["gpu_dollars_total", "gpu"] == pytest.approx(2 * 36 * 5 / 3600)
    first.down = second.down = True
    page = looked.at(10)
    assert (page["engine_up", "gpu"], page["engine_replicas", "gpu"]) == (0, 2)
    assert ("engine_requests_running", "gpu") not in page
    assert ("engine_cache_usage_ratio", "gpu") not in page
    assert (page["adapter_wanted", f"gpu,{NAME}"], page["adapter_resident", f"gpu,{NAME}"]) == (2, 0)
    first.down, first.page = False, VLLM  # begun anew: 100 tokens since
    page = looked.at(15)
    assert (page["engine_up", "gpu"], page["engine_requests_running", "gpu"]) == (1, 5)
    assert page["engine_output_tokens_total", "gpu"] == 130


def test_what_is_not_wanted_any_more_is_not_exported(two: tuple[Looked, Engine, Engine]) -> None:
    looked, _, _ = two
    assert ("adapter_wanted", f"gpu,{NAME}") in looked.at(0)
    looked.settings = replace(looked.settings, routes={"r": replace(looked.settings.routes["r"], mode="teacher")})
    assert ("adapter_wanted", f"gpu,{NAME}") not in looked.at(5)
    store = SqliteStore(Path(looked.settings.state.removeprefix("sqlite:///")))
    store.add_adapter("other@000000000000", "gpu", "/adapters/other", who="test")
    store.close()
    assert looked.at(10)["adapter_resident", "gpu,other@000000000000"] == 1


@pytest.mark.parametrize("page", ["<html>", "", "x" * (9 << 20)])
def test_what_is_no_engine_is_down(upstream: Upstream, tmp_path: Path, page: str) -> None:
    url = upstream.place("odd", Engine(page)).url
    route = {"teacher": {"upstream": "gpu", "model": "base"}}
    found = Looked(tmp_path, {"gpu": {"kind": "vllm", "base_urls": [url]}}, route).at(0)
    assert found["engine_up", "gpu"] == 0


def test_lorax(upstream: Upstream, tmp_path: Path) -> None:
    url = upstream.place("lorax", Engine(LORAX)).url
    route = {"teacher": {"upstream": "shared", "model": "base"}}
    page = Looked(tmp_path, {"shared": {"kind": "lorax", "base_urls": [url]}}, route).at(0)
    assert (page["engine_up", "shared"], page["engine_requests_waiting", "shared"]) == (1, 2)
    assert not [key for key in page if "adapter" in key[0]]
