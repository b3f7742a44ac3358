"""Clients' keys as they may be written, and what is refused without being repeated."""

import hashlib

import pytest

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.clients import ClientKey, read_keys

TWO = (ClientKey("sk-1", "triage"), ClientKey("sk-2", "billing"))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (" a , b,,", (ClientKey("a"), ClientKey("b"))),
        ("a\nb\n", (ClientKey("a"), ClientKey("b"))),
        ("triage: sk-1\nbilling:  sk-2\r\n", TWO),
        ("# who may ask\n\ntriage: sk-1\n  billing: sk-2  \n", TWO),
        ("triage: sk-1, billing: sk-2", TWO),
        ('{"triage": "sk-1", "billing": "sk-2"}', TWO),
        ('["sk-1", "sk-2"]', (ClientKey("sk-1"), ClientKey("sk-2"))),
        ("sk:1", (ClientKey("sk:1"),)),
        ("https://key", (ClientKey("https://key"),)),
        ("a,a", (ClientKey("a"),)),
        ("sk-1\ntriage: sk-1", (ClientKey("sk-1", "triage"),)),
        (
            "triage: old\ntriage: new",
            (ClientKey("old", "triage"), ClientKey("new", "triage")),
        ),  # while it is turned over
    ],
)
def test_ways_to_write_keys(text: str, keys: tuple[ClientKey, ...]) -> None:
    assert read_keys(text) == keys


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the list is empty"),
        (" , \n", "the list is empty"),
        ("# nobody", "the list is empty"),
        ("{}", "the list is empty"),
        ("triage: sk-1\nbilling: sk-1", "triage and billing have the same key"),
        ("tri/age: sk-1", "a client's name"),
        ("triage: sk-ü1", "the key of triage holds characters"),
        ('{"triage": ""}', "the key of triage is empty"),
        ('{"triage": {"key": "sk-1"}}', "with texts only"),
        ('{"triage": "sk-1"', "begins as JSON does"),
    ],
)
def test_keys_that_are_refused_are_not_repeated(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        read_keys(text)
    assert "sk-" not in str(caught.value)


def test_who_has_no_name_is_called_by_the_digest() -> None:
    assert ClientKey("sk-1").name == f"key-{hashlib.sha256(b'sk-1').hexdigest()[:12]}"
    assert "sk-1" not in repr(ClientKey("sk-1"))
