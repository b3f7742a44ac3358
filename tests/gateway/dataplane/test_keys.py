"""Client keys and their limits, with an injected clock; counted exactly by several processes at once."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.keys import WINDOW_S, ClientKeys, KeyLimits
from graduand.gateway.errors import RequestError
from graduand.gateway.model.clients import ANYBODY, Client, ClientKey
from graduand.gateway.model.routes import Limits

KEYS = (ClientKey("first"), ClientKey("second", "billing"))
FIRST, SECOND = (Client(number, one.name, one.digest) for number, one in enumerate(KEYS))


@pytest.mark.parametrize(
    ("header", "client"),
    [(b"Bearer first", FIRST), (b"Bearer second", SECOND), (b"bearer second", SECOND), (b"Bearer  first ", FIRST)],
)
def test_known_keys(header: bytes, client: Client) -> None:
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
    assert ClientKeys(None).client(None) == ANYBODY


Make = Callable[..., KeyLimits]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda **limits: KeyLimits(tmp_path / "limits", KEYS, Limits(**limits))


def test_requests_in_a_window(make: Make) -> None:
    limits = make(requests_per_minute=3)
    for _ in range(3):
        limits.admit(FIRST, 1000.0)
    with pytest.raises(RequestError) as caught:
        limits.admit(FIRST, 1020.5)
    error = caught.value
    assert (error.status, error.code, error.kind) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert error.retry_after_s == WINDOW_S - 20.5
    limits.admit(SECOND, 1020.5)  # another client has its own
    with pytest.raises(RequestError):
        limits.admit(FIRST, 1000 + WINDOW_S - 0.001)
    limits.admit(FIRST, 1000 + WINDOW_S)


def test_refused_requests_do_not_count(make: Make) -> None:
    limits = make(requests_per_minute=1)
    limits.admit(FIRST, 0.5)
    for _ in range(5):
        with pytest.raises(RequestError):
            limits.admit(FIRST, 1)
    limits.admit(FIRST, WINDOW_S + 0.5)


def test_tokens_in_a_window(make: Make) -> None:
    limits = make(tokens_per_minute=10)
    limits.admit(FIRST, 100)
    limits.spend(FIRST, 9, 100)
    limits.admit(FIRST, 101)
    limits.spend(FIRST, 500, 102)  # known only after the answer: the one that goes over is served
    with pytest.raises(RequestError, match="10 tokens a minute"):
        limits.admit(FIRST, 103)
    limits.admit(FIRST, 100 + WINDOW_S)


def test_a_clock_set_back_locks_nobody_out(make: Make) -> None:
    limits = make(requests_per_minute=1)
    limits.admit(FIRST, 1_000_000)
    limits.admit(FIRST, 500)


def test_closing_leaves_no_descriptor_and_no_mapping(make: Make, tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().count(str(tmp_path))
        return len(os.listdir("/proc/self/fd")), maps

    before = held()
    for _ in range(20):
        limits = make(requests_per_minute=100)
        limits.admit(FIRST, 1)
        limits.close()
    assert held() == before


def _hammer(path: Path, admitted: "multiprocessing.Queue[int]") -> None:
    limits, count = KeyLimits(path, KEYS, Limits(requests_per_minute=1000)), 0
    for _ in range(500):
        try:
            limits.admit(FIRST, 5000.0)
            limits.spend(SECOND, 1, 5000.0)
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
    spent = KeyLimits(tmp_path / "limits", KEYS, Limits(tokens_per_minute=1001))
    spent.admit(SECOND, 5000.0)
    spent.spend(SECOND, 1, 5000.0)
    with pytest.raises(RequestError):
        spent.admit(SECOND, 5000.0)


@given(lists=st.lists(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1), min_size=1, max_size=6))
def test_a_key_keeps_its_counts_wherever_it_stands_in_the_list(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[str]]
) -> None:
    folder, spent = tmp_path_factory.mktemp("limits"), dict.fromkeys("abcdef", 0)
    for names in lists:
        keys = [ClientKey(one) for one in names]
        limits = KeyLimits(folder / "limits", keys, Limits(requests_per_minute=3))
        for one in keys:
            who = Client(0, one.name, one.digest)
            if spent[one.key] < 3:
                limits.admit(who, 1000.0)
                spent[one.key] += 1
            else:
                with pytest.raises(RequestError):
                    limits.admit(who, 1000.0)
        limits.close()


def test_tokens_of_a_key_that_was_taken_away_are_counted_for_nobody(make: Make, tmp_path: Path) -> None:
    limits = KeyLimits(tmp_path / "limits", KEYS[1:], Limits(tokens_per_minute=10))
    limits.spend(FIRST, 100, 1000.0)
    limits.admit(SECOND, 1000.0)
