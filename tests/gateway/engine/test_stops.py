import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.engine.stops import StopFilter


@pytest.mark.parametrize(
    ("pieces", "stops", "released", "matched"),
    [
        (["Hello", " world"], [], ["Hello", " world"], None),
        (["Hel", "lo"], ["lo"], ["He", "l"], "lo"),
        (["a", "E", "N", "D", "b"], ["END"], ["a", "", "", "", ""], "END"),
        (["a", "E", "N", "x"], ["END"], ["a", "", "", "ENx"], None),
        (["one two"], ["two", "one"], [""], "one"),
        (["abcd"], ["abcd", "bc"], ["a"], "bc"),
        (["aab"], ["ab"], ["a"], "ab"),
        (["x\n", "\ny"], ["\n\n"], ["x", ""], "\n\n"),
    ],
)
def test_releases_nothing_of_a_stop_string(
    pieces: list[str], stops: list[str], released: list[str], matched: str | None
) -> None:
    stop_filter = StopFilter(stops)
    assert [stop_filter.push(piece) for piece in pieces] == released
    assert stop_filter.matched == matched


def test_releases_what_was_held_back_when_the_text_ends() -> None:
    stop_filter = StopFilter(["END"])
    assert stop_filter.push("the EN") == "the "
    assert stop_filter.finish() == "EN"


def test_includes_the_stop_string_if_asked() -> None:
    stop_filter = StopFilter(["."], include=True)
    assert stop_filter.push("Done. And") == "Done."


@given(st.lists(st.text("ab", max_size=3)), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3))
def test_the_pieces_do_not_matter(pieces: list[str], stops: list[str]) -> None:
    whole, split = StopFilter(stops), StopFilter(stops)
    text = "".join(pieces)
    by_character = "".join(whole.push(character) for character in text) + whole.finish()
    by_piece = "".join(split.push(piece) for piece in pieces) + split.finish()
    assert by_piece == by_character
    assert not any(stop in by_piece for stop in stops)
    assert (split.matched is not None) == any(stop in text for stop in stops)
