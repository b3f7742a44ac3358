"""What people write: defaults, refusals with the nearest key, and a complete plain form."""

import json
import math
import re

import pytest
import yaml

from graduand.gateway.errors import ConfigError
from graduand.rollout.spec.file import read
from graduand.rollout.spec.spec import Labels, Outcome, audit_share, spec_from_dict

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
    both = ["agreement of copies", "agreement as served", "agreement as served, dropped"]
    assert [gate.name for gate in spec.harm] == [*both, "errors of copies", "errors as served"]
    assert {gate.p0 for gate in spec.harm[:3]} == {0.85}
    assert {gate.path for gate in spec.harm} == {"copies", "served"}
    # All that a harm gate stands for, on both paths, shares alpha.
    assert {round(gate.log_threshold, 9) for gate in spec.harm} == {round(math.log(5 / 0.01), 9)}
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
    (
        "{gates: [agreement, {correctness: {p0: 0.95, labels: 50}}]}",
        "with 50 labels even a student that is never wrong",
    ),
    ("{gates: [agreement, {correctness: {p0: 0.99999, labels: 2000}}]}", "ask for less"),
    ("{gates: [agreement, {correctness: {labels: 0}}]}", "greater than or equal to 1"),
    ("{gates: [agreement, {correctness: {p0: 1}}]}", "less than 1"),
    ("{gates: [agreement, {correctness: {lables: 5}}]}", "Did you mean 'labels'"),
    ("{gates: [agreement, correctness, correctness 0.8]}", "given twice"),
    ("{gates: [correctness]}", "still healthy after promotion"),
    ("{harm: [correctness]}", "harm[0]: correctness is known only when people have looked"),
    ("{gates: [agreement, {correctness: {outcomes: {within: 1d}}}]}", "say what a good outcome is"),
    ("{gates: [agreement, {correctness: {outcomes: {right: [ok]}}}]}", "within: Field required"),
    ("{gates: [agreement, {correctness: {outcomes: {within: 0s, right: [ok]}}}]}", "greater than 0"),
    (
        "{gates: [agreement, {correctness: {outcomes: {within: 1d, right: [ok], at_least: 1}}}]}",
        "say what a good outcome is",
    ),
    ("{gates: [agreement, {correctness: {outcomes: {within: 1d, right: ['']}}}]}", "at least 1 character"),
    ("{gates: [agreement, {correctness: {outcomes: {within: 6d, right: [ok]}}}]}", "give it a t_max above 691200 s"),
    ("{gates: [agreement, outcome]}", "within: Field required"),
    ("{gates: [agreement, {outcome: {within: 1d}}]}", "say what an outcome is"),
    ("{gates: [agreement, {outcome: {within: 1d, right: [ok], worst: 0, best: 1}}]}", "say what an outcome is"),
    ("{gates: [agreement, {outcome: {within: 1d, worst: 1, best: 1}}]}", "say what an outcome is"),
    ("{gates: [agreement, {outcome: {within: 1d, worst: 1}}]}", "say what an outcome is"),
    ("{gates: [agreement, {outcome: {within: 1d, right: [ok], margin: 0}}]}", "greater than 0"),
    ("{gates: [agreement, {outcome: {within: 1d, right: [ok], name: 'a b'}}]}", "pattern"),
    ("{gates: [{outcome: {within: 1d, right: [ok]}}]}", "still healthy after promotion"),
    ("{steps: [shadow, full], gates: [agreement, {outcome: {within: 1d, right: [ok]}}]}", "there is no canary step"),
    ("{steps: [shadow, full], harm: [{outcome: {within: 1d, right: [ok]}}]}", "there is no canary step"),
    ("{gates: [agreement, {outcome: {within: 5d, right: [ok]}}]}", "give it a t_max above 691200 s"),
    (
        "{gates: [agreement, {outcome: {within: 1d, right: [ok]}}], harm: [{outcome: {within: 1d, right: [ok]}}]}",
        "give the harm gate a larger margin",
    ),
    (
        "{gates: [agreement, {outcome: {within: 1d, right: [ok]}}], harm: [{outcome: {within: 2d, right: [ok], margin: 0.2}}]}",
        "measure different things",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_refusals_say_what_and_where(text: str, says: str) -> None:
    data = yaml.safe_load(text)
    if isinstance(data, dict) and data != {"student": "s@3f9c1a"}:
        data = {"route": "r", "student": "s@3f9c1a", **data}
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(data)


FIELD: dict[str, object] = {"agreement": {"p0": 0.9, "field": "total"}}
SLICE: dict[str, object] = {"agreement": {"p0": 0.9, "slice": "french"}}


@pytest.mark.parametrize(
    ("gates", "harm", "watch"),
    [
        (["agreement 0.9"], {"agreement": 0.85}, ("agreement", 0.9)),
        (["score 0.45"], {"score": 0.4}, ("score", 0.45)),
        (["score 0.45", "agreement 0.8"], {"score": 0.4, "agreement": 0.75}, ("agreement", 0.8)),
        (["agreement 0.9", "incumbent"], {"agreement": 0.85, "incumbent": 0.45}, ("agreement", 0.9)),
        (["agreement 0.9", {"incumbent": 0.4}], {"agreement": 0.85, "incumbent": 0.35}, ("agreement", 0.9)),
        ([FIELD], {"agreement:total": 0.85}, ("agreement:total", 0.9)),
        (["agreement", SLICE], {"agreement": 0.9, "agreement@french": 0.85}, ("agreement", 0.95)),
        ([{"latency": {"slo": "1s"}}], {"agreement": 0.9}, ("agreement", 0.95)),
    ],
)
def test_defaults_follow_from_what_is_to_be_proved(gates: list[object], harm: object, watch: tuple[str, float]) -> None:
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": gates})
    assert {gate.signal: gate.p0 for gate in spec.harm if gate.signal != "errors"} == harm
    assert {gate.path for gate in spec.harm if gate.signal == "errors"} == {"copies", "served"}
    assert (spec.watch.signal, spec.watch.start["p0"]) == watch
    assert spec.keeps_incumbent == any("incumbent" in gate for gate in gates)


def test_correctness_alone_asks_for_labels_and_for_what_is_healthy() -> None:
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": ["correctness 0.8"], "watch": {"p0": 0.7}})
    [gate] = spec.gates
    assert (gate.name, gate.p0, gate.labels, gate.needed_in) == (
        "correctness", 0.8, Labels(100), ("shadow", "canary", "hybrid", "full"),
    )  # fmt: skip
    # A student may be right where the teacher is not: what is harm follows the watch, not the gate.
    assert {gate.signal: gate.p0 for gate in spec.harm if gate.signal != "errors"} == {"agreement": 0.65}
    again = spec_from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec


def test_outcomes_are_of_what_was_served() -> None:
    outcomes = {"within": "2d", "right": ["accepted", "resolved"]}
    asked = {"correctness": {"p0": 0.8, "labels": 200, "outcomes": outcomes}}
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": ["agreement", asked]})
    gate = spec.gates[1]
    assert gate.labels == Labels(200, 172800.0, ("accepted", "resolved"), None)
    assert "shadow" not in gate.needed_in
    assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_outcomes_are_compared_in_canaries_and_their_harm_gate_allows_more() -> None:
    asked = {"outcome": {"within": "2d", "right": ["accepted"], "margin": 0.1}}
    stars = {"outcome": {"within": "1d", "name": "stars", "worst": 1, "best": 5}}
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": ["agreement", asked, stars]})
    assert [(gate.name, gate.needed_in) for gate in spec.gates[1:]] == [
        ("outcome", ("canary",)), ("outcome:stars", ("canary",)),
    ]  # fmt: skip
    assert spec.gates[1].outcome == Outcome(172800.0, ("accepted",), margin=0.1)
    assert spec.gates[2].outcome == Outcome(86400.0, (), 1.0, 5.0, 0.05)
    margins = {gate.signal: gate.outcome.margin for gate in spec.harm if gate.outcome is not None}
    assert margins == {"outcome": 0.15, "outcome:stars": 0.1}
    assert {gate.signal for gate in spec.harm} == {"agreement", "outcome", "outcome:stars", "errors"}
    assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_an_incumbent_alone_says_not_what_is_healthy() -> None:
    with pytest.raises(ConfigError, match="still healthy after promotion"):
        read({"route": "r", "student": "s@3f9c1a", "gates": ["incumbent"]})
    spec = read({"route": "r", "student": "s@3f9c1a", "gates": ["incumbent"], "watch": {"p0": 0.8}})
    assert {gate.signal for gate in spec.harm} == {"incumbent", "errors"}


@pytest.mark.parametrize(
    ("gates", "harm"),
    [
        (["agreement 0.9"], ["agreement 0.9"]),
        (["score 0.4"], ["score 0.45"]),
        (["agreement", {"incumbent": 0.4}], [{"incumbent": 0.5}]),
        ([FIELD], [{"agreement": {"p0": 0.95, "field": "total"}}]),
        ([{"latency": {"slo": "1s", "within": 0.9}}], [{"latency": {"slo": "1s", "within": 0.95}}]),
    ],
)
def test_gates_that_contradict_each_other_are_refused_with_the_reason(gates: list[object], harm: list[object]) -> None:
    with pytest.raises(ConfigError, match="between the two would be promoted and rolled back"):
        read({"route": "r", "student": "s@3f9c1a", "gates": gates, "harm": harm})


@pytest.mark.parametrize(("cycle", "least"), [("24h", 3 * 86400), ("7d", 21 * 86400), ("none", 3600)])
def test_a_step_that_is_to_prove_something_has_time_for_three_cycles(cycle: str, least: float) -> None:
    steps = [{"shadow": {"t_max": "1h"}}, {"canary": {"weight": 1, "dwell": 0, "t_max": "1h"}}, "canary 50", "full"]
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": steps, "cycle": cycle})
    assert [step.proof for step in spec.steps] == [True, False, True, True]
    assert spec.steps[0].t_max_s == least
    assert spec.steps[1].t_max_s == 3600  # it passes on harm gates and the path test
    assert spec.steps[3].t_max_s == max(7 * 86400, least)


def test_a_holdout_needs_a_step_that_would_leave_nobody() -> None:
    assert read({"route": "r", "student": "s@3f9c1a", "holdout": 1}).holdout_bp == 100
    with pytest.raises(ConfigError, match="holdout"):
        read({"route": "r", "student": "s@3f9c1a", "holdout": 1, "steps": ["shadow", "hybrid"]})


@pytest.mark.parametrize(("weight_bp", "share"), [(0, 1.0), (100, 1.0), (500, 1.0), (1000, 0.5), (10_000, 0.05)])
def test_small_weights_are_audited_more(weight_bp: int, share: float) -> None:
    assert audit_share(read({"route": "r", "student": "s@3f9c1a"}), weight_bp) == pytest.approx(share)
