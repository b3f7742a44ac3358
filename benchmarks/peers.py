"""Who is measured: each peer's version, what it does for a request, and how it is started.

Each peer gets its quickest settings that make sense in production, and one worker. vllm-router is there with its
defaults too: they take about twice the time, but the targets are judged by the quicker one. A peer that cannot be
installed raises Unavailable from `launch`.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import nginx
from benchmarks.drift_texts import docstrings
from benchmarks.environments import ROOT, environment
from benchmarks.payload import ADAPTER, CLIENT_KEY, MODEL, TEACHER_MODEL, UPSTREAM_KEY
from graduand import __version__
from graduand.monitoring.drift import files
from graduand.monitoring.drift.prompts import prompt_of
from graduand.monitoring.drift.reference import build, calibration_report
from graduand.monitoring.embedding.named import load

GRADUAND = "Graduand"
SHADOWING = "Graduand, shadow 100%"
MONITORED = "Graduand, all monitors on"
DIRECT = "direct to upstream"
VLLM_SHIPPED = "vllm-router, as shipped"
NGINX, VLLM, SGLANG, LITELLM, FASTAPI = (
    "nginx",
    "vllm-router, round robin",
    "sglang-router",
    "LiteLLM",
    "FastAPI + httpx",
)
CANARY_WEIGHT = 10
FALSE_ALARM_EVERY = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a peer is given: its port, a second one if it needs it, the upstream's port, and a folder for its files."""

    port: int
    second_port: int
    upstream_port: int
    folder: Path

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"

    def write(self, name: str, text: str) -> str:
        """Write one of the peer's files and return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: its command and what its environment has besides ours."""

    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the table."""

    name: str
    version: str
    does: str
    launch: Callable[[Place], Launch]


def _nginx(place: Place) -> Launch:
    return Launch(nginx.proxy(place.port, place.upstream_port, place.folder))


def _router(place: Place) -> list[str]:
    listen = ["--host", "127.0.0.1", "--port", str(place.port)]
    metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.second_port)]
    return [*listen, *metrics, "--worker-urls", place.upstream]


def _vllm(place: Place, *settings: str) -> Launch:
    programs = environment("vllm-router", ("vllm-router==0.1.17",))
    return Launch([str(programs / "vllm-router"), *_router(place), *settings])


def _sglang(place: Place) -> Launch:
    programs = environment("sglang-router", ("sglang-router==0.3.2",))
    launcher = [str(programs / "python"), "-m", "sglang_router.launch_router"]
    return Launch([*launcher, *_router(place), "--policy", "round_robin", "--log-level", "warn"])


LITELLM_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{teacher}, api_base: {upstream}/v1, api_key: {key}}}
general_settings: {{master_key: {client_key}}}
litellm_settings: {{telemetry: false, request_timeout: 60}}
"""


def _litellm(place: Place) -> Launch:
    programs = environment("litellm", ("litellm[proxy]==1.106.0",))
    names = {"model": MODEL, "teacher": TEACHER_MODEL, "key": UPSTREAM_KEY, "client_key": CLIENT_KEY}
    config = place.write("litellm.yaml", LITELLM_CONFIG.format(upstream=place.upstream, **names))
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    # The map of prices comes with the package; without this LiteLLM looks for a newer one on the network.
    env = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Launch([str(programs / "litellm"), "--config", config, *listen], env)


def _fastapi(place: Place) -> Launch:
    needs = ("fastapi==0.121.0", "httpx==0.28.1", "uvicorn==0.38.0", "uvloop==0.22.1", "httptools==0.7.1")
    programs = environment("fastapi", needs)
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--no-access-log", "--log-level", "warning"]
    where = ["--app-dir", str(Path(__file__).parent), "fastapi_proxy:app"]
    env = {"UPSTREAM": place.upstream, "UPSTREAM_MODEL": TEACHER_MODEL, "PYTHONPATH": ""}
    return Launch([str(programs / "uvicorn"), *listen, "--loop", "uvloop", "--http", "httptools", *where], env)


GRADUAND_CONFIG = """
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
workers: 1
state: sqlite:///{folder}/state.db
logs: file://{folder}/logs
client_keys: {{env: GRADUAND_KEYS}}
upstreams:
  openai: {{kind: openai, base_urls: ["{upstream}/v1"], api_key: {{env: BENCH_UPSTREAM_KEY}}}}
  gpu:    {{kind: vllm,   base_urls: ["{upstream}/v1"]}}
routes:
  {model}:
    teacher: {{upstream: openai, model: {teacher}}}
    student: {{upstream: gpu, adapter: {adapter}}}
    mode: canary
    weight: {weight}
    unit: user
    shadow_sample: {shadow}
{monitors}"""
# The queues that the benchmark's prompt names. What is one of them is no refusal, holds no key and does not repeat itself.
MONITORS = """
    task: {{kind: label, labels: [billing, access, shipping, other]}}
    monitors: {{reference: "{reference}"}}
"""


def _monitors(place: Place) -> str:
    """All monitors, and texts unlike the benchmark's to compare with: one alarm after the other, which costs the most."""
    made = build([prompt_of({"prompt": text}) for text in docstrings()], load("static"))
    return MONITORS.format(reference=files.write(made, place.folder, calibration_report(made, FALSE_ALARM_EVERY)))


def graduand(place: Place, shadow: int, monitors: str = "") -> Launch:
    names = {"model": MODEL, "teacher": TEACHER_MODEL, "adapter": ADAPTER, "weight": CANARY_WEIGHT, "shadow": shadow}
    names["monitors"] = monitors
    where = {"port": place.port, "admin": place.second_port, "folder": place.folder, "upstream": place.upstream}
    config = place.write("graduand.yaml", GRADUAND_CONFIG.format(**where, **names))
    installed = Path(sys.executable).with_name("graduand")
    # This checkout's code is measured, whichever checkout the environment was made for.
    env = {"GRADUAND_KEYS": CLIENT_KEY, "BENCH_UPSTREAM_KEY": UPSTREAM_KEY, "PYTHONPATH": str(ROOT)}
    command = [str(installed)] if installed.is_file() else [sys.executable, "-c", _ENTRY]
    return Launch([*command, "serve", "--config", config], env)


_ENTRY = "import sys; from gateway.cli import main; sys.exit(main())"

PEERS = (
    Peer(NGINX, "system's", "`proxy_pass`: passes bytes on, reads nothing; the practical limit", _nginx),
    Peer(
        VLLM,
        "0.1.17",
        "Rust; its quickest setting: round robin, only warnings logged; metrics",
        lambda place: _vllm(place, "--policy", "round_robin", "--log-level", "warning"),
    ),
    Peer(VLLM_SHIPPED, "0.1.17", "Rust; its defaults: picks a worker by the prompt's prefix, metrics", _vllm),
    Peer(SGLANG, "0.3.2", "Rust; its quickest setting: round robin, only warnings logged; metrics", _sglang),
    Peer(LITELLM, "1.106.0", "Python; client key, model name changed, usage and cost reckoned", _litellm),
    Peer(FASTAPI, "0.121.0 + 0.28.1", "Python; model name changed (benchmarks/fastapi_proxy.py)", _fastapi),
    Peer(
        GRADUAND,
        __version__,
        f"Python; client key, sticky canary at {CANARY_WEIGHT}% by user, model name changed, request log, metrics",
        lambda place: graduand(place, shadow=0),
    ),
    Peer(
        SHADOWING,
        __version__,
        "the same, and the student asked too for every request that the teacher answers",
        lambda place: graduand(place, shadow=100),
    ),
    Peer(
        MONITORED,
        __version__,
        "as without shadow; every answer, the teacher's too, through the checks of a label task; all drift detectors",
        lambda place: graduand(place, shadow=0, monitors=_monitors(place)),
    ),
)
