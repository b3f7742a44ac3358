"""The verifier in examples/, which knows nothing of this package, accepts the same certificate and refuses the same changes."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control.certificate import signing
from graduand.gateway.model import canonical
from graduand.rollout.state import Phase
from tests.gateway.control.certificate import test_verify
from tests.gateway.control.certificate.conftest import SHORT, Case, issued
from tests.gateway.control.certificate.test_verify import CERTIFICATES, FORGED, LINES, RECORDS, Change, forged, set_at
from tests.gateway.control.worlds import World

Json = dict[str, Any]
VERIFIER = Path(__file__).parents[4] / "examples" / "verify_certificate.py"
CONFIRMED, REFUSED, UNCONFIRMED = 0, 3, 4
keys = test_verify.keys


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """The verifier's exit code."""

    def verify(case: Case, *more: str) -> int:
        file = tmp_path / "certificate.json"
        file.write_bytes(canonical.dumps(case.certificate))
        monkeypatch.setattr(sys, "argv", [VERIFIER.name, str(file), "--log", str(case.log), *more])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(VERIFIER), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return verify


def test_it_is_short_and_independent() -> None:
    text = VERIFIER.read_text()
    assert len(text.splitlines()) < 300
    assert "import graduand" not in text
    assert "from graduand" not in text


def test_the_same_certificate_is_accepted(case: Case, judged: Callable[..., int], keys: tuple[Path, Path]) -> None:
    assert judged(case) == CONFIRMED
    case.ship()
    case.certificate = signing.signed(case.certificate, keys[0])
    assert judged(case) == CONFIRMED
    case.certificate["signature"]["value"] = "0" * 128
    assert judged(case) == REFUSED


@pytest.mark.parametrize("change", RECORDS, ids=lambda one: one.__name__)
def test_another_record_is_refused(case: Case, change: Change, judged: Callable[..., int]) -> None:
    change(case)
    assert judged(case) == REFUSED
    case.ship()
    assert judged(case) == REFUSED


@pytest.mark.parametrize("change", LINES, ids=lambda one: one.__name__)
def test_another_line_is_refused(
    case: Case, change: Callable[[list[Json]], None], judged: Callable[..., int]
) -> None:  # fmt: skip
    lines = case.lines()
    change(lines)
    case.write_lines(lines)
    assert judged(case) == REFUSED


@pytest.mark.parametrize("name", FORGED)
def test_forged_evidence_is_refused(case: Case, name: str, judged: Callable[..., int]) -> None:
    kind, at, change, _ = FORGED[name]
    forged(case, change, kind, at)
    assert judged(case) == REFUSED


@pytest.mark.parametrize("name", CERTIFICATES)
def test_another_certificate_is_refused(case: Case, name: str, judged: Callable[..., int]) -> None:
    path, value, _ = CERTIFICATES[name]
    set_at(path, value)(case.certificate)
    assert judged(case) == REFUSED


@pytest.mark.parametrize("text", ["request_json", "response_json"])
def test_an_erased_text_is_not_confirmed(case: Case, text: str, judged: Callable[..., int]) -> None:
    records = case.records()
    records[3][text] = None
    case.write_records(records)
    assert judged(case) == UNCONFIRMED


def test_days_and_users_who_come_again(tmp_path: Path, judged: Callable[..., int]) -> None:
    world = World(tmp_path, named=True, users=40)
    steps = [{"shadow": {"pairs": 20}}, {"full": {"requests": 5, "dwell": "3s"}}]
    world.start(**{**SHORT, "steps": steps, "cycle": "24h", "stale_after": "30d"})
    world.look(3)
    for hour in range(24 * 9):
        if world.phase is Phase.PROMOTED:
            break
        if hour in (30, 33):
            world.verb("pause" if hour == 30 else "resume")
        world.ask(3, agree=0.95)
        world.look(2, step_s=1800)
    certificate = issued(world)
    case = Case(json.loads(json.dumps(certificate)), tmp_path / "logs")
    assert judged(case) == CONFIRMED
    (claim,) = [one for one in certificate["claims"] if one["to"] == "promoted"]
    assert claim["cycles"] >= 2
