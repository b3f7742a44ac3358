"""What is measured: each scenario's load, its figures, and which of them is the headline."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load, payload
from benchmarks.load import Figures
from benchmarks.peers import (
    DIRECT,
    FASTAPI,
    GRADUAND,
    LITELLM,
    MONITORED,
    NGINX,
    SGLANG,
    SHADOWING,
    VLLM,
    VLLM_SHIPPED,
)

CONNECTIONS = 64
STREAMS = 128
WARM_UP_S = 1
EVERYBODY = (DIRECT, NGINX, VLLM, SGLANG, LITELLM, FASTAPI, GRADUAND)
EVERY_SETTING = (DIRECT, NGINX, VLLM, VLLM_SHIPPED, SGLANG, LITELLM, FASTAPI, GRADUAND, SHADOWING)
PAIR = (GRADUAND, MONITORED)
# Rows that a scenario does without, and why.
LEFT_OUT = {
    SHADOWING: "the cost of shadowing is measured with small requests",
    MONITORED: "the cost of monitors is measured in pairs, small requests without them and with them in turns",
    VLLM_SHIPPED: "the cost of its defaults is measured with small requests",
}


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement's surroundings: where to send, from which core, for how long, and where the bodies are."""

    port: int
    core: int
    seconds: float
    bodies: Path


@dataclass(frozen=True, slots=True)
class Scenario:
    """One column group of the table. `share` is its length as a share of the run's `--seconds`; its rows have so many
    `turns` a round, more than one where two are so close that the machine's own changes would hide which is quicker."""

    key: str
    title: str
    streamed: bool
    share: float
    rows: tuple[str, ...]
    headline: str
    unit: str
    more_is_better: bool
    measure: Callable[[Load], Figures]
    warm_up: Callable[[Load], object]
    turns: int = 1


def _whole(load_: Load, body: str, connections: int) -> Figures:
    path = load_.bodies / body
    return load.whole_answers(load_.port, path, core=load_.core, connections=connections, seconds=load_.seconds)


def _warm_up(load_: Load) -> None:
    path = load_.bodies / "small.json"
    load.warm_up(load_.port, path, core=load_.core, connections=CONNECTIONS, seconds=WARM_UP_S)


def _warm_already(load_: Load) -> None:
    """Streams are opened over a second, and counted at full speed only after another."""


def _streams(load_: Load, mode: str) -> Figures:
    return load.streams(load_.port, mode, core=load_.core, count=STREAMS, seconds=load_.seconds)


BODIES = {"small.json": payload.small, "large.json": payload.large}

SCENARIOS = (
    Scenario(
        "small",
        f"Small chat request (450 B), {CONNECTIONS} connections",
        False,
        1.0,
        EVERY_SETTING,
        "requests_per_s",
        "requests/s",
        True,
        lambda load_: _whole(load_, "small.json", CONNECTIONS),
        _warm_up,
    ),
    Scenario(
        "monitors",
        f"Small chat request, {CONNECTIONS} connections, without and with monitors in turns",
        False,
        0.3,
        PAIR,
        "requests_per_s",
        "requests/s",
        True,
        lambda load_: _whole(load_, "small.json", CONNECTIONS),
        _warm_up,
        turns=6,
    ),
    Scenario(
        "large",
        f"8 kB prompt, {CONNECTIONS} connections",
        False,
        0.5,
        EVERYBODY,
        "requests_per_s",
        "requests/s",
        True,
        lambda load_: _whole(load_, "large.json", CONNECTIONS),
        _warm_up,
    ),
    Scenario(
        "single",
        "Small chat request, one at a time",
        False,
        0.5,
        EVERYBODY,
        "p50_ms",
        "ms, median",
        False,
        lambda load_: _whole(load_, "small.json", 1),
        _warm_up,
    ),
    Scenario(
        "paced",
        f"{STREAMS} streams of 50 tokens/s",
        True,
        0.7,
        EVERYBODY,
        "gap_max_ms",
        "ms, longest gap",
        False,
        lambda load_: _streams(load_, "paced"),
        _warm_already,
    ),
    Scenario(
        "full",
        f"{STREAMS} streams at full speed",
        True,
        0.5,
        EVERYBODY,
        "chunks_per_s",
        "chunks/s",
        True,
        lambda load_: _streams(load_, "full"),
        _warm_already,
    ),
)
