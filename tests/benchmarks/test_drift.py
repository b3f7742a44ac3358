"""The drift benchmark on texts that every machine has, small: the promise holds and a drift is noticed."""

from pathlib import Path

import pytest

from benchmarks import drift
from benchmarks.drift_report import markdown, plot
from benchmarks.drift_texts import descriptions, docstrings, summaries


def test_a_small_run_on_real_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "LONG", 1_500)
    # Fewer to learn from than to draw from: windows of texts that are drawn again and again differ from the reference by more
    # than chance where there are few.
    monkeypatch.setattr(drift, "TRAINING", 400)
    monkeypatch.setattr(drift, "PATIENCE", 1_500)
    monkeypatch.setattr(drift, "CONTAMINATION", (0.5, 1.0))
    usual = docstrings()[::2][:1600]
    drifting = {"paragraphs": descriptions()[:300], "summaries": summaries()}
    assert len(usual) > 1000
    found = drift.measure(usual, drifting, "static", runs=2, seed=7)
    for row in found["held_out"]:
        # At most twice the promised rate; a single alarm says nothing.
        assert row["alarms"] <= max(1, 2 * row["requests"] / row["promise"]), row
    delays = {(row["source"], row["share"]): row["mean"] for row in found["delays"] if row["monitor"] == "novelty"}
    assert delays["paragraphs", 1.0] < 300
    assert delays["summaries", 1.0] < 150
    assert delays["summaries", 1.0] < delays["summaries", 0.5]
    result = {"usual": "docstrings", "sources": {"paragraphs": 300}, "runs": 2, "seed": 7, "promise": 10_000,
              "patience": 1_500, "embedders": [found]}  # fmt: skip
    assert "| static | summaries | novelty |" in markdown(result)
    monkeypatch.setattr("benchmarks.drift_report.SHARES", (0.5, 1.0))
    plot(result, tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 10_000
