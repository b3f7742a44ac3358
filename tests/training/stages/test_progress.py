"""Progress as people and log files see it."""

import io

import pytest

from graduand.training.stages.progress import Bar, Lines, figures


def test_figures_are_readable() -> None:
    assert figures(0.12345, 1234.5, 125.4) == "loss 0.1235  1,234 tokens/s  2:05 left"


def test_lines_are_few_but_always_show_the_first_and_the_last_step() -> None:
    stream = io.StringIO()
    lines = Lines(stream, every_s=3600)
    lines.say("loading")
    for step in range(1, 101):
        lines.step(step, 100, figures(1 / step, 300.0, 100.0 - step))
    lines.close()
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == ["loading", "step 1/100", "step 100/100"]


def test_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = Bar()
    bar.say("what is learned: '[bold]yes<|im_end|>'")
    bar.step(2, 4, figures(0.5, 300.0, 61.0))
    bar.close()
    shown = capsys.readouterr().err
    assert "[bold]yes<|im_end|>" in shown  # data is not markup
    assert "1:01 left" in shown
