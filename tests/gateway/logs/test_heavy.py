"""Units that have too much of a route's traffic, as the log tells of them."""

from pathlib import Path

from graduand.gateway.logs.heavy import HeavyUnit, heavy_units
from graduand.gateway.logs.reading import Source
from graduand.gateway.model.routing import Decision
from tests.gateway.logs.lines import MORNING, made, write


def decided(unit: int, rollout: str = "") -> Decision:
    return Decision("teacher", "teacher", 1.0, unit % 10_000, False, False, rollout, unit_hash=unit)


def test_heavy_units(tmp_path: Path) -> None:
    # Of `tickets` one unit has a quarter, of `other` a fifth, `few` has too little to say, and each rollout counts for itself.
    lines = [made(n, decision=decided(99_999 if n % 4 == 0 else n)) for n in range(400)]
    lines += [made(n, route="other", decision=decided(99_999 if n % 5 == 0 else n)) for n in range(400, 800)]
    lines += [made(n, route="few", decision=decided(7)) for n in range(800, 900)]
    lines += [made(n, route="two", decision=decided(n, "a" if n % 2 else "b")) for n in range(900, 1300)]
    lines += [made(n, role="shadow", route="copies", decision=decided(7)) for n in range(1300, 1600)]
    write(tmp_path, "w0", lines)
    source = Source(f"file://{tmp_path}", tmp_path)
    assert heavy_units(source, MORNING + 3600) == [HeavyUnit("tickets", 100, 400)]
    assert heavy_units(source, MORNING + 2 * 86_400) == []


def test_without_a_log_nothing_is_said(tmp_path: Path) -> None:
    assert heavy_units(Source(f"file://{tmp_path}/none", tmp_path / "none")) == []
