"""Client keys and their limits, with an injected clock; counted exactly by several processes at once."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graduand.gateway.dataplane.keys import WINDOW_S, ClientKeys, KeyLimits
from graduand.gateway.errors import RequestError
from graduand.gateway.model.routes import Limits

KEYS = ("first", "second")


@pytest.mark.parametrize(
    ("header", "client"),
    [(b"Bearer first", 0), (b"Bearer second", 1), (b"bearer second", 1), (b"Bearer  first ", 0)],
)
def test_known_keys(header: bytes, client: int) -> None:
    assert ClientKeys(KEYS).client(header) == client


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"), (b"", "missing_api_key"), (b"Bearer", "missing_api_key"),
        (b"Bearer  ", "missing_api_key"), (b"Basic first", "missing_api_key"), (b"first", "missing_api_key"),
        (b"Bearer third", "invalid_api_key"), (b"Bearer firs", "invalid_api_key"), (b"Bearer first2", "invalid_api_key"),
        (b"Bearer first second", "invalid_api_key"), (b"Bearer \xff\xfe", "invalid_api_key"),
    ],
)  # fmt: skip
def test_unknown_keys(header: bytes | None, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        ClientKeys(KEYS).client(header)
    assert (caught.value.status, caught.value.code, caught.value.kind) == (401, code, "authentication_error")
    assert "third" not in caught.value.message


def test_without_keys_everybody_is_let_in() -> None:
    assert ClientKeys(None).client(None) == 0


Make = Callable[..., KeyLimits]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda **limits: KeyLimits(tmp_path / "limits", 2, Limits(**limits))


def test_requests_in_a_window(make: Make) -> None:
    limits = make(requests_per_minute=3)
    for _ in range(3):
        limits.admit(0, 1000.0)
    with pytest.raises(RequestError) as caught:
        limits.admit(0, 1020.5)
    error = caught.value
    assert (error.status, error.code, error.kind) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert error.retry_after_s == WINDOW_S - 20.5
    limits.admit(1, 1020.5)  # another client has its own
    with pytest.raises(RequestError):
        limits.admit(0, 1000 + WINDOW_S - 0.001)
    limits.admit(0, 1000 + WINDOW_S)


def test_refused_requests_do_not_count(make: Make) -> None:
    limits = make(requests_per_minute=1)
    limits.admit(0, 0.5)
    for _ in range(5):
        with pytest.raises(RequestError):
            limits.admit(0, 1)
    limits.admit(0, WINDOW_S + 0.5)


def test_tokens_in_a_window(make: Make) -> None:
    limits = make(tokens_per_minute=10)
    limits.admit(0, 100)
    limits.spend(0, 9, 100)
    limits.admit(0, 101)
    limits.spend(0, 500, 102)  # known only after the answer: the one that goes over is served
    with pytest.raises(RequestError, match="10 tokens a minute"):
        limits.admit(0, 103)
    limits.admit(0, 100 + WINDOW_S)


def test_a_clock_set_back_locks_nobody_out(make: Make) -> None:
    limits = make(requests_per_minute=1)
    limits.admit(0, 1_000_000)
    limits.admit(0, 500)


def test_closing_leaves_no_descriptor_and_no_mapping(make: Make, tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().count(str(tmp_path))
        return len(os.listdir("/proc/self/fd")), maps

    before = held()
    for _ in range(20):
        limits = make(requests_per_minute=100)
        limits.admit(0, 1)
        limits.close()
    assert held() == before


def _hammer(path: Path, admitted: "multiprocessing.Queue[int]") -> None:
    limits, count = KeyLimits(path, 2, Limits(requests_per_minute=1000)), 0
    for _ in range(500):
        try:
            limits.admit(0, 5000.0)
            limits.spend(1, 1, 5000.0)
            count += 1
        except RequestError:
            pass
    admitted.put(count)


def test_exact_across_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_hammer, args=(tmp_path / "limits", queue)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sum(queue.get(timeout=30) for _ in processes) == 1000
    for process in processes:
        process.join()
    spent = KeyLimits(tmp_path / "limits", 2, Limits(tokens_per_minute=1001))
    spent.admit(1, 5000.0)
    spent.spend(1, 1, 5000.0)
    with pytest.raises(RequestError):
        spent.admit(1, 5000.0)
