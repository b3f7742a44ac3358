"""Slices: what belongs to one."""

from typing import Any

import pytest

from graduand.rollout.spec.file import read
from graduand.rollout.spec.slices import Slice, named
from graduand.rollout.spec.spec import spec_from_dict

SLICES = (
    Slice("refunds", label="refund"),
    Slice("french", prompt="(?i)bonjour"),
    Slice("app", metadata={"client": "app"}),
    Slice("french-refunds", label="refund", prompt="(?i)bonjour"),
)


@pytest.mark.parametrize(
    ("prompt", "label", "metadata", "names"),
    [
        ("Hello", "other", {}, ()),
        ("Hello", "refund", {}, ("refunds",)),
        ("Bonjour", "refund", {"client": "app"}, ("refunds", "french", "app", "french-refunds")),
        ("x" * 20_000 + "bonjour", "", {}, ()),  # too far away to be searched for
        ("", "", {"slice": "vip"}, ("vip",)),  # what a request says of itself
        ("", "", {"slice": "refunds"}, ()),  # but not where a slice is described
        ("", "", {"slice": 7, "client": None}, ()),
    ],
)
def test_named(prompt: str, label: str, metadata: dict[str, Any], names: tuple[str, ...]) -> None:
    assert named(SLICES, prompt, label, metadata) == names


def test_in_a_specification() -> None:
    spec = read({"route": "r", "student": "s@3f9c1a", "slices": {"one": {"label": 1}, "two": {"prompt": "x"}}})
    assert spec.slices == (Slice("one", label="1"), Slice("two", prompt="x"))
    assert spec_from_dict(spec.to_dict()) == spec
