"""Parts of a stage are done once, whatever killed the run that did them."""

from pathlib import Path

import pytest

from graduand.training.stages.parts import FILE, Parts


def test_a_part_is_done_once(tmp_path: Path) -> None:
    assert Parts(tmp_path).once("a", lambda: {"x": [1, None]}) == {"x": [1, None]}
    again = Parts(tmp_path)
    assert again.once("a", lambda: pytest.fail("done a second time")) == {"x": [1, None]}
    assert again.once("b", lambda: 2) == 2


def test_a_line_that_a_kill_cut_is_done_anew(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.once("a", lambda: 1)
    parts.once("b", lambda: 2)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-4])
    after = Parts(tmp_path)
    assert after.once("a", lambda: pytest.fail("done a second time")) == 1
    assert after.once("b", lambda: 3) == 3
    assert Parts(tmp_path).once("b", lambda: 4) == 3


def test_a_part_that_fails_is_not_kept(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    with pytest.raises(ZeroDivisionError):
        parts.once("a", lambda: 1 // 0)
    assert parts.once("a", lambda: 1) == 1
