"""Checks as a route writes them: defaults by task, short forms, and what is refused."""

from typing import Any

import pytest

from graduand.gateway.errors import ConfigError
from graduand.monitoring.checks.own import OwnCheck
from graduand.monitoring.checks.written import explain, of_route

LABEL = {"kind": "label", "labels": ["a", "b"]}


def named(checks: Any, task: Any = None) -> dict[str, str]:
    return {one.name: one.action for one in of_route(checks, task)}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (None, {}),
        (LABEL, {"not_empty": "fallback", "truncated": "flag", "label": "fallback"}),
        ({"kind": "json"}, dict.fromkeys(("not_empty", "truncated", "json"), "fallback")),
        (
            {"kind": "text"},
            dict.fromkeys(("not_empty", "truncated", "refusal", "repetition", "secret"), "fallback"),
        ),
    ],
)
def test_defaults(task: Any, expected: dict[str, str]) -> None:
    assert named(None, task) == expected
    assert named([], task) == {}


def test_forms() -> None:
    written = [
        "not_empty",
        {"refusal": "block"},
        {"json": {"schema": {"type": "object"}, "action": "flag"}},
        "secret block",
    ]
    assert named(written) == {"not_empty": "fallback", "refusal": "block", "json": "flag", "secret": "block"}
    [length, language] = of_route([{"max_length": 9}, {"language": {"expect": "de", "time_limit": "5ms"}}], None)
    assert (length.name, language.name, language.limit_s) == ("max_length", "language", 0.005)


def test_ones_own() -> None:
    asked = {"own": {"name": "policy", "url": "http://127.0.0.1:9000/check"}}
    ran = {
        "own": {"name": "sql", "command": ["python", "check.py"], "least": 0.9, "action": "block", "time_limit": "5s"}
    }
    [first, second] = of_route([asked, ran], None)
    assert isinstance(first, OwnCheck)
    assert isinstance(second, OwnCheck)
    assert (first.name, first.url, first.command, first.least, first.action, first.limit_s) == (
        "policy", "http://127.0.0.1:9000/check", (), 0.5, "fallback", 2.0,
    )  # fmt: skip
    assert (second.command, second.least, second.action, second.limit_s) == (("python", "check.py"), 0.9, "block", 5.0)
    assert "policy (the teacher answers instead)" in explain([first], release="block", fallback_behind=True)


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        (["refusals"], "Did you mean 'refusal'"),
        ([{"json": {"shema": {}}}], "Did you mean 'schema'"),
        ([{"secret": {"acton": "block"}}], "Did you mean 'action'"),
        ([{"secret": "stop"}], "'fallback', 'flag' or 'block'"),
        ([{"json": {"schema": {"type": "objekt"}}}], "is not a JSON Schema"),
        ([{"json": {"schema": {"$ref": "http://127.0.0.1:1/x"}}}], "is not a JSON Schema"),
        ([{"json": {"schema": {"pattern": "("}}}], "is not a JSON Schema"),
        ([{"language": "xx"}], "is not a language"),
        ([{"max_length": 0}], "greater than 0"),
        (["max_length"], "characters"),
        (["label"], "kind label"),
        (["refusal", {"refusal": "flag"}], "twice"),
        ([{"own": {"name": "a", "url": "http://h/x"}}, {"own": {"name": "a", "command": ["x"]}}], "twice"),
        ([{"own": {"name": "a"}}], "a url or a command"),
        ([{"own": {"name": "a", "url": "http://h/x", "command": ["x"]}}], "a url or a command"),
        ([{"own": {"name": "a", "url": "localhost:9000"}}], "http://HOST:PORT/PATH"),
        ([{"own": {"name": "refusal", "url": "http://h/x"}}], "built in"),
        ([{"own": {"name": "A b", "url": "http://h/x"}}], "name"),
        ([{"own": {"name": "a", "url": "http://h/x", "time_limit": "2m"}}], "less than or equal to 60"),
        ([{"own": {"name": "a", "url": "http://h/x", "least": 2}}], "less than or equal to 1"),
        ([{"own": {"name": "a", "uri": "http://h/x"}}], "Did you mean 'url'"),
        (["own"], "name"),
        ([3], "write a name"),
    ],
)
def test_refused(checks: Any, said: str) -> None:
    with pytest.raises(ConfigError, match="checks") as caught:
        of_route(checks, None)
    assert said in str(caught.value)


def test_explained() -> None:
    armed = of_route(None, LABEL)
    words = explain(armed, release="observe", fallback_behind=True)
    assert "not_empty, label (the teacher answers instead); truncated (only logged and counted)" in words
    assert "release: observe" in words
    assert "release" not in explain(armed, release="block", fallback_behind=True)
    assert "label (the client gets an error)" in explain(armed, release="block", fallback_behind=False)
    assert explain([], release="observe", fallback_behind=True) == "answers are not checked (no checks)"
