"""What people write: defaults, refusals with the nearest key, and a complete plain form."""

import json
import math

import pytest
import yaml

from graduand.gateway.errors import ConfigError
from graduand.rollout.spec.file import read
from graduand.rollout.spec.spec import spec_from_dict

SIX_LINES = """
route: support-triage
student: support-triage@3f9c1a0b22de
steps: [shadow, canary 5%, canary 25, full]
gates:
  - agreement: {p0: 0.9}
  - latency: {slo: 800ms}
"""


def test_six_lines_are_a_rollout() -> None:
    spec = read(yaml.safe_load(SIX_LINES))
    assert [step.name for step in spec.steps] == ["shadow", "canary-5", "canary-25", "full"]
    assert [step.weight_bp for step in spec.steps] == [0, 500, 2500, 10_000]
    assert [gate.name for gate in spec.gates] == ["agreement", "latency:first_token"]
    assert [gate.name for gate in spec.harm] == ["agreement", "errors"]
    assert spec.harm[0].start["p0"] == 0.85
    assert spec.harm[0].log_threshold == pytest.approx(math.log(2 / 0.01))  # two harm gates share alpha
    assert spec.watch.start["p0"] == 0.9
    assert spec.on_inconclusive == "hold"


def test_route_and_student_are_enough() -> None:
    spec = read({"route": "r", "student": "s@3f9c1a"})
    assert spec.steps[0].n_min == 1000
    assert spec.steps[-1].kind == "full"


def test_plain_form_is_complete() -> None:
    spec = read(
        {**yaml.safe_load(SIX_LINES), "approvals": ["full"], "notify": ["https://hooks.example/x", {"env": "H"}]}
    )
    again = spec_from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.digest == spec.digest
    assert read({"route": "r", "student": "s@3f9c1a"}).digest != spec.digest


def test_shadow_latency_is_never_asked_for() -> None:
    latency = read(yaml.safe_load(SIX_LINES)).gates[1]
    assert "shadow" not in latency.needed_in


REFUSED = [
    ("{student: s@3f9c1a}", "route: Field required"),
    ("[1]", "mapping"),
    ("{step: []}", "Did you mean 'steps'"),
    ("{steps: [shaddow, full]}", "Did you mean 'shadow'"),
    ("{steps: [shadow]}", "last step must be"),
    ("{steps: []}", "last step must be"),
    ("{steps: [full, shadow, full]}", "shadow cannot follow full"),
    ("{steps: [shadow, shadow, full]}", "shadow cannot follow shadow"),
    ("{steps: [canary 5, canary 5, full]}", "must rise"),
    ("{steps: [canary 0, full]}", "weight"),
    ("{steps: [{canary: {wait: 5}}, full]}", "Did you mean 'weight'"),
    ("{steps: [{canary: {weight: 5, dwell: 2 fortnights}}, full]}", "dwell"),
    ("{steps: [{canary: {weight: 5, dwell: 8d}}, full]}", "could never pass"),
    ("{steps: [{a: 1, b: 2}, full]}", "one name with its keys"),
    ("{steps: [full 7]}", "takes keys"),
    ("{gates: []}", "at least one"),
    ("{gates: [errors]}", "not known"),
    ("{gates: [agreement, agreement]}", "given twice"),
    ("{gates: [{agreement: {alfa: 0.1}}]}", "Did you mean 'alpha'"),
    ("{gates: [agreement 1.5]}", "less than 1"),
    ("{gates: [latency]}", "slo"),
    ("{harm: [{agreement: {alpha: 0.1}}]}", "harm_alpha"),
    ("{approvals: [fll]}", "Did you mean 'full'"),
    ("{notify: [ftp://x]}", "url"),
    ("{notify: [{events: [hold]}]}", "either url, or env"),
    ("{student: '../etc'}", "not allowed"),
    ("{on_inconclusive: promote}", "hold"),
    ("{audit: 0}", "audit"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_refusals_say_what_and_where(text: str, says: str) -> None:
    data = yaml.safe_load(text)
    if isinstance(data, dict) and data != {"student": "s@3f9c1a"}:
        data = {"route": "r", "student": "s@3f9c1a", **data}
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        read(data)


@pytest.mark.parametrize(
    ("gates", "harm", "watch"),
    [
        (["agreement 0.9"], {"agreement": 0.85, "errors": None}, ("agreement", 0.9)),
        (["score 0.45"], {"score": 0.4, "errors": None}, ("score", 0.45)),
        (["score 0.45", "agreement 0.8"], {"agreement": 0.75, "errors": None}, ("agreement", 0.8)),
        (["agreement 0.9", "incumbent"], {"agreement": 0.85, "incumbent": 0.5, "errors": None}, ("agreement", 0.9)),
    ],
)
def test_defaults_follow_from_what_is_to_be_proved(gates: list[str], harm: object, watch: tuple[str, float]) -> None:
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": gates})
    assert {gate.name: gate.start.get("p0") for gate in spec.harm} == harm
    assert (spec.watch.signal, spec.watch.start["p0"]) == watch
    assert spec.keeps_incumbent == ("incumbent" in gates)


def test_an_incumbent_alone_says_not_what_is_healthy() -> None:
    with pytest.raises(ConfigError, match="still healthy after promotion"):
        read({"route": "r", "student": "s@3f9c1a", "gates": ["incumbent"]})
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": ["incumbent"], "watch": {"p0": 0.8}})
    assert [gate.name for gate in spec.harm] == ["incumbent", "errors"]
