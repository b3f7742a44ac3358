"""Whatever stands in the file, `load` returns a configuration or raises ConfigError: on SIGHUP a gateway is serving."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graduand.gateway.config.read import budgets_folder, load
from graduand.gateway.config.yamltext import MAX_DEPTH
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.routes import settings_from_json, settings_to_json
from tests.gateway.config.test_keys import ENVIRON, WHOLE

PLACE = "@@"
BOMB = (
    "[&a [x, x, x, x, x, x, x, x], "
    + ", ".join(f"&{'bcdefgh'[i]} [{', '.join(['*' + 'abcdefg'[i]] * 8)}]" for i in range(7))
    + "]"
)
NASTY = [
    "2024-01-01", "2024-13-45", "2024-01-01T00:00:00Z", '"\\0"', '"a\\0b"', '"\\ud800"', '"\\udcff"', "\x07",
    "http://[::1", "http://[", "[http://[::1]", "file:///[", "file://[x", "s3://[", "sqlite://[",
    "sqlite:///", "sqlite:////",
    "redis://[::1", "sqlite:///\u2100", "http://\u2100.c", "http://h:\u0663", "h:\u00b2", "127.0.0.1:" + "9" * 5000,
    "a" * 300, "a" * 5000, "/" + "a" * 300, "/" + "a/" * 3000, "[" * 60 + "]" * 60,
    "[" * 3000 + "]" * 3000, "{a: " * 900 + "}" * 900,
    "9" * 5000, "1" + "0" * 400, "-1", "0x" + "f" * 400, "1e400", ".inf", "-.inf", ".nan", "1e-400",
    "0b2", "1:60:60", "~",
    "!!binary aGVsbG8=", "!!binary $", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]",
    "!!timestamp x", "!!timestamp 2024-01-01",
    "!!int ''", "!!float ''", "!!bool x", "!!null x", "!!python/object:os.system {}", "!x y",
    "&a [*a]", "&a {b: *a}", "*nobody",
    "{<<: 5}", "{<<: {a: 1}}", "{<<: [1]}", "{[a]: 1}", "{1: 2}", "{~: 2}", "{true: 2}",
    "{2024-01-01: x}", "{? {a: 1} : 1}", BOMB,
    "{env: NOT}", "{env: 5}", "{env: [a]}", "{file: '/'}", "{file: 5}", '{file: "\\0"}',
    "{file: " + "a" * 300 + "}", "{env: ''}",
    "{kind: json, schema: {type: 5}}", "{kind: json, schema: {$ref: 'http://[::1'}}",
    "{kind: json, schema: {pattern: '('}}",
    "{kind: label, labels: [2024-01-01, b]}", "{kind: text, judge: {upstream: u, model: m, max_per_day: 1e300}}",
    "[{json: {schema: 2024-01-01}}]", "[{max_length: .inf}]", "[{repetition: {ratio: 1e308}}]",
    "[secret 5]", "[{}]", "[[]]", "[~]",
    "[{name: x, pattern: '('}]", "[{name: x, pattern: '(?P<a>b)\\C'}]", "[~]", "%", "%5",
    "header:" + "x" * 9000, "''", "' '", "a\u2028b",
]  # fmt: skip


def paths(data: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in the data, and one key more in every section."""
    if at:
        yield at
    if isinstance(data, dict):
        for key, value in data.items():
            yield from paths(value, (*at, key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from paths(value, (*at, number))


FULL: dict[str, Any] = copy.deepcopy(WHOLE)
FULL.update(listen="127.0.0.1:0", admin="h:1", workers=1, logs="file:///tmp/x")
FULL["routes"]["r"].update(
    mode="canary", weight=1, unit="user", shadow_sample=1, release="window", release_window=1, checks=["refusal"], retries=1,
    on_student_failure="error", task={"kind": "label", "labels": ["a", "b"]}, audit_sample=1, record_sample=1,
)  # fmt: skip
FULL["routes"]["r"]["timeouts"] = {"connect_s": 1, "first_token_s": 1, "idle_s": 1, "total_s": 1}
FULL["routes"]["r"]["shadow_budget"] = {"requests_per_day": 1, "tokens_per_day": 1}
FULL["routes"]["r"]["monitors"]["novelty"] = {
    "false_alarm_every": 1000, "action": "lower", "share": 5, "resume": "auto", "clean_requests": 5, "min_time_s": 5,
}  # fmt: skip
FULL["upstreams"]["u"].update(ca_file="/nowhere", gpu_hour=1, slots=1)
FULL["record"].update(presidio=False, on_full="drop", spool="/tmp/x", spool_mb=1, seal_s=1, keep_days=1)
FULL["client_limits"] = {"requests_per_minute": 1, "tokens_per_minute": 1}
FULL["tracing"]["sample"] = 5
FULL["adapters"].update(cache="/tmp/x", hub_allow=["a/*"])
PATHS = sorted(set(paths(FULL)), key=str)


def text_with(snippet: str, at: tuple[str | int, ...], as_key: bool) -> str:
    """The file with the snippet at a place, as the value or as the name of what stands there."""
    data = copy.deepcopy(FULL)
    data["upstreams"]["u"].pop("ca_file")
    data["upstreams"]["u"].pop("gpu_hour")
    section: Any = data
    for step in at[:-1]:
        section = section[step]
    last = at[-1]
    if as_key and isinstance(section, dict):
        section[PLACE] = section.pop(last, 1)
    else:
        section[last] = PLACE
    return yaml.safe_dump(data, default_flow_style=True, width=10**9).replace(f"'{PLACE}'", snippet)


def outcome(text: str | bytes, folder: Path) -> bool:
    """Whether it is a configuration; anything but that and a ConfigError fails the test."""
    path = folder / "graduand.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        found = load(path, ENVIRON)
    except ConfigError as error:
        str(error).encode()  # it can be printed
        return False
    assert settings_from_json(json.loads(json.dumps(settings_to_json(found), allow_nan=False))) == found
    budgets_folder(found)
    return True


FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


PLACES = (st.sampled_from(NASTY), st.sampled_from(PATHS), st.booleans())


@FUZZ
@given(*PLACES)
@example("1e400", ("prices", "m", "input"), False)  # to YAML it is text, and to pydantic a number
def test_nasty_values_and_names_anywhere(tmp_path: Path, snippet: str, at: tuple[str | int, ...], as_key: bool) -> None:
    outcome(text_with(snippet, at, as_key), tmp_path)


@pytest.mark.slow
@settings(FUZZ, max_examples=2000)
@given(*PLACES)
def test_many_nasty_values_and_names(tmp_path: Path, snippet: str, at: tuple[str | int, ...], as_key: bool) -> None:
    outcome(text_with(snippet, at, as_key), tmp_path)


@FUZZ
@given(st.text(max_size=60) | st.text("{}[]:,&*!|>-?#'\"\\ab01\n \t%@`<.", max_size=60))
@example("")
@example("upstreams: {}")
@example("a: &x [*x]")
@example("\ufeffa: 1")
def test_any_text(tmp_path: Path, text: str) -> None:
    assert not outcome(text, tmp_path)


@FUZZ
@given(st.binary(max_size=40))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    assert not outcome(data, tmp_path)


def test_the_file_that_is_broken_is_right_before(tmp_path: Path) -> None:
    assert outcome(text_with("refusal", ("routes", "r", "checks", 0), False), tmp_path)


def test_a_date_is_text(tmp_path: Path) -> None:
    assert outcome(text_with("2024-01-01", ("routes", "r", "student", "adapter"), False), tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "more than 50 deep"),
        ("a: &x [*x]", "more than 50 deep"),
        ("a: " + "[" * 1200, "is not YAML"),
        (f"a: {BOMB}", "more than 100,000 values"),
        ('a: "\\0"', "a: holds the character NUL"),
        ('a: "\\ud800"', "a: is not text that UTF-8 can hold"),
        ("a: {5: 6}", "a: the key 5 is not text"),
        ("a: !!binary aGVsbG8=", "a: a bytes cannot stand"),
        ("a: .inf", "a: Input should be a finite number"),
        ("a: " + "9" * 5000, "is not YAML"),
        ("a: 1\na: 2", "given twice"),
    ],
)
def test_what_is_no_plain_data_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "x.yaml", {})
    assert said in str(refused.value)
