"""Engines: batches are cut by whoever asks, nothing is lost, and outcomes stand in the order of the batches."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.cli import main
from graduand.training.data import arrow
from graduand.training.data.samples import Sample, of_text, write_samples
from graduand.training.engines.engine import LOCAL, EngineError, Function, cut, in_order
from graduand.training.evaluation.local import alike
from graduand.training.evaluation.respondent import BATCH_BYTES, together
from tests.training.quiet import Quiet


class Shuffled:
    """An engine whose outcomes come in any order; some may get lost."""

    workers = 3

    def __init__(self, seed: int, lost: int = 0) -> None:
        self.seed = seed
        self.lost = lost

    def map(
        self, function: Function, batches: Sequence[pa.Table], most: int | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        places = list(range(len(batches)))
        random.Random(self.seed).shuffle(places)
        for place in places[self.lost :]:
            yield place, function(batches[place])


def doubled(batch: pa.Table) -> pa.Table:
    return pa.table({"twice": pa.compute.multiply(batch["number"], 2)})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-100, 100), max_size=40), st.integers(1, 7), st.integers(0, 99))
def test_outcomes_stand_in_the_order_of_the_batches(numbers: list[int], most: int, seed: int) -> None:
    parts = cut(numbers, most)
    assert [number for part in parts for number in part] == numbers
    assert all(0 < len(part) <= most for part in parts)
    batches = [pa.table({"number": part}) for part in parts]
    for engine in (LOCAL, Shuffled(seed)):
        found = in_order(engine, doubled, batches, Quiet(), "")
        assert [twice for table in found for twice in table["twice"].to_pylist()] == [2 * number for number in numbers]


def test_a_batch_that_is_lost_is_said() -> None:
    batches = [pa.table({"number": [n]}) for n in range(5)]
    with pytest.raises(EngineError, match="2 of 5 batches did not come back"):
        in_order(Shuffled(1, lost=2), doubled, batches, Quiet(), "")


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
message = st.fixed_dictionaries({"role": st.sampled_from(("system", "user", "assistant")), "content": text})
chat = st.builds(
    Sample,
    id=text,
    messages=st.lists(message, min_size=1, max_size=3).map(tuple),
    completion=st.none() | text,
    gold=st.none() | text,
)
plain = st.builds(Sample, id=text, prompt=text.filter(bool), completion=st.none() | text)


@settings(max_examples=40, deadline=None)
@given(st.lists(chat | plain, max_size=8))
def test_samples_come_back_from_arrow_as_they_were(samples: list[Sample]) -> None:
    assert arrow.samples(arrow.table(samples)) == samples


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 80))
def test_batches_of_similar_length_hold_every_place_once(lengths: list[int], most: int) -> None:
    batches = list(alike(lengths, most))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= most for batch in batches)


def test_rows_that_are_asked_together_are_alike() -> None:
    samples = [of_text(str(n), "long " * 700 if n % 2 else "short") for n in range(30)]
    batches = list(together(samples))
    assert all(len({samples[place].text for place in batch}) == 1 for batch in batches)
    assert max(len(batch) for batch in batches) == 15
    assert (
        BATCH_BYTES // len("long " * 700)
        == 3
        == max(len(batch) for batch in batches if samples[batch[0]].text != "short")
    )


def test_an_address_without_ray_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("{task: {labels: [a, b]}, steps: [exact]}")
    write_samples(tmp_path / "rows.jsonl", [of_text("x", "y", completion="a")])
    files = ["--config", str(tmp_path / "c.yaml"), "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path)]
    assert main(["train", "curate", *files, "--ray-address", "auto"]) == 2
    assert "--ray-address is for --engine ray" in capsys.readouterr().err


def test_ray_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from graduand.gateway.errors import ConfigError
    from graduand.training.engines import ray_data

    monkeypatch.setattr(ray_data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'graduand\[ray\]'"):
        ray_data.RayData(None, 1, ray_data.Kin.here((), ()))
