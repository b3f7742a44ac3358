"""A certificate of a real promotion is confirmed from its log, wherever that is, and refused after anything is done to either."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.control.certificate import issue, signing
from graduand.gateway.control.certificate.verify import Finding, Status, schema, verdict, verify
from graduand.gateway.errors import ConfigError, RequestError
from graduand.gateway.model import canonical, evidence
from tests.gateway.control.certificate.conftest import SHORT, Case, issued, promoted
from tests.gateway.control.worlds import World

Json = dict[str, Any]
Change = Callable[[Case], None]


def refused(findings: list[Finding]) -> dict[str, str]:
    return {one.line: one.why for one in findings if one.status is Status.REFUSED}


def test_it_is_confirmed_wherever_the_log_is(case: Case) -> None:
    findings = case.verify()
    assert {one.status for one in findings} == {Status.OK}, findings
    lines = [one.line for one in findings]
    assert {"specification", "account of alpha", "records", "outcomes", "evidence", "canary-50: gate agreement"} <= set(
        lines
    )
    assert case.certificate["certified"]
    assert [claim["to"] for claim in case.certificate["claims"]] == ["canary-50", "full", "promoted"]
    case.ship()
    assert case.verdict() is Status.OK


def test_it_is_what_the_schema_says(case: Case) -> None:
    validator = jsonschema_rs.Draft202012Validator(schema())
    validator.validate(case.certificate)
    for name in case.certificate:
        assert not validator.is_valid({key: one for key, one in case.certificate.items() if key != name}), name
    assert not validator.is_valid({**case.certificate, "more": 1})


def test_without_a_log_nothing_about_it_is_called_so(case: Case) -> None:
    findings = verify(canonical.dumps(case.certificate))
    assert verdict(findings) is Status.UNCONFIRMED
    assert not any("gate" in one.line for one in findings)


# What is done to a record, and what must be found.


def change_answer(case: Case) -> None:
    records = case.records()
    at = next(at for at, one in enumerate(records) if one["role"] == "shadow")
    records[at]["response_json"] = records[at]["response_json"].replace("yes", "yet")
    case.write_records(records)


def change_field(case: Case) -> None:
    records = case.records()
    records[40]["unit_bucket"] += 1
    case.write_records(records)


def delete(case: Case) -> None:
    case.write_records([one for at, one in enumerate(case.records()) if at != 20])


def double(case: Case) -> None:
    records = case.records()
    case.write_records([*records, records[20]])


def swap(case: Case) -> None:
    records = case.records()
    records[20], records[21] = records[21], records[20]
    case.write_records(records)


def cut_short(case: Case) -> None:
    case.write_records(case.records()[:-1])


RECORDS = [change_answer, change_field, delete, double, swap, cut_short]


@pytest.mark.parametrize("shipped", [False, True], ids=["segments", "parts"])
@pytest.mark.parametrize("change", RECORDS, ids=lambda one: one.__name__)
def test_a_record_that_is_another(case: Case, change: Change, shipped: bool) -> None:
    change(case)
    if shipped:
        case.ship()
    found = refused(case.verify())
    assert "records" in found
    assert any("gate" in line for line in found), "what rests on it is refused too"


def test_a_part_that_is_missing(case: Case) -> None:
    case.ship()
    next(iter(case.log.glob("dt=*/**/*.parquet"))).unlink()
    assert "records" in refused(case.verify())


# What is done to the evidence.


def line_changed(lines: list[Json]) -> None:
    at = next(at for at, one in enumerate(lines) if one["kind"] == "pair")
    lines[at]["body"] = lines[at]["body"].replace('"agreed":true', '"agreed":false')


def line_deleted(lines: list[Json]) -> None:
    del lines[40]


def line_doubled(lines: list[Json]) -> None:
    lines.insert(40, lines[40])


def lines_swapped(lines: list[Json]) -> None:
    lines[40], lines[41] = lines[41], lines[40]


def lines_cut(lines: list[Json]) -> None:
    del lines[-1]


def all_gone(lines: list[Json]) -> None:
    lines.clear()


def time_changed(lines: list[Json]) -> None:
    lines[5]["time"] += 1


LINES = [line_changed, line_deleted, line_doubled, lines_swapped, lines_cut, all_gone, time_changed]


@pytest.mark.parametrize("change", LINES, ids=lambda one: one.__name__)
def test_a_line_of_evidence_that_is_another(case: Case, change: Callable[[list[Json]], None]) -> None:
    lines = case.lines()
    change(lines)
    case.write_lines(lines)
    assert "evidence" in refused(case.verify())


def rechained(lines: list[Json]) -> list[Json]:
    """Lines whose hashes somebody has made anew after changing one."""
    head = ""
    for number, line in enumerate(lines, 1):
        line.update(number=number, id=f"{line['rollout']}/{number}", previous=head)
        head = evidence.line_hash(line)
    return lines


def forged(case: Case, change: Callable[[Json], None], kind: str, at: int = 0) -> None:
    """Change a line, and make all hashes fit again: in the evidence, in the certificate, in its trail."""
    lines = case.lines()
    line = [one for one in lines if one["kind"] == kind][at]
    body = json.loads(line["body"])
    change(body)
    line["body"] = canonical.dumps(body).decode()
    case.write_lines(rechained(lines))
    case.certificate["evidence"]["head"] = evidence.line_hash(lines[-1])


FORGED: dict[str, tuple[str, int, Callable[[Json], None], str]] = {
    "an outcome": ("pair", 3, lambda body: body.update(agreed=not body["agreed"]), "outcomes"),
    "a unit": ("pair", 3, lambda body: body.update(unit="abc"), "outcomes"),
    "a probability": ("pair", 3, lambda body: body.update(p=0.5), "outcomes"),
    "a missing outcome": ("pair", 3, lambda body: body.update(agreed=None, how="missing"), ""),
    "an arm": ("served", 3, lambda body: body.update(arm="rest" if body["arm"] != "rest" else "control"), "outcomes"),
    "a claim": ("event", 3, lambda body: body["claim"]["gates"][0].update(log_e=99.0), "evidence"),
    "a share of alpha": ("begin", 0, lambda body: body["account"].update(share=1.0), "evidence"),
    "earlier candidates": ("begin", 0, lambda body: body["account"]["promoted"].append(True), "evidence"),
    "an event": ("event", 2, lambda body: body["event"].update(kind="promote"), "evidence"),
    "who read what": ("read", 0, lambda body: body["records"].pop(), "evidence"),
}


@pytest.mark.parametrize("name", FORGED)
def test_evidence_that_was_forged_with_all_its_hashes(case: Case, name: str) -> None:
    """What the records do not say is refused, though all hashes fit."""
    kind, at, change, line = FORGED[name]
    forged(case, change, kind, at)
    found = refused(case.verify())
    assert "audit trail and evidence" in found or "evidence" in found
    assert not line or line in found, found


# What is done to the certificate.


def set_at(path: str, value: Any) -> Callable[[Json], None]:
    def change(data: Json) -> None:
        *folders, name = path.split("/")
        for folder in folders:
            data = data[int(folder)] if isinstance(data, list) else data[folder]
        data[int(name) if isinstance(data, list) else name] = value

    return change


CERTIFICATES = {
    "another specification": ("specification/spec/audit", 0.5, "specification"),
    "another bound": ("specification/spec/gates/0/start/p0", 0.1, "specification"),
    "another task": ("specification/task", {"kind": "label", "labels": ["yes"]}, "specification"),
    "another digest": ("specification/digest", "0" * 12, "specification"),
    "another adapter": ("adapter/name", "other@3f9c1a0b22de", "adapter"),
    "another adapter's digest": ("adapter/digest", "000000000000", "adapter"),
    "another account": ("account/number", 2, "account of alpha"),
    "another share": ("account/share", 1.0, "account of alpha"),
    "a candidate more": ("account/promoted", [True], "account of alpha"),
    "more evidence": ("claims/1/gates/0/log_e", 50.0, "canary-50: gate agreement"),
    "less asked": ("claims/1/gates/0/asked", 0.1, "canary-50: gate agreement"),
    "more observations": ("claims/2/gates/0/n", 5000, "full: gate agreement"),
    "less harm": ("claims/2/harm/0/log_e", -50.0, "full: harm gate agreement of copies"),
    "another path test": ("claims/1/paths/log_e", -1.0, "canary-50: step, path test and shares of the arms"),
    "other words": ("claims/2/gates/0/says", "proved beyond doubt", "claims"),
    "somebody else": ("decisions/0/who", "bob", "decisions"),
    "another reason": ("decisions/1/reason", "because", "decisions"),
    "another time": ("issued/at", 1.0, "evidence"),
    "another phase": ("rollout/phase", "full", "decisions"),
    "another route": ("rollout/route", "other", "specification"),
    "another rollout": ("rollout/id", "triage-2", "evidence"),
    "fewer lines": ("evidence/lines", 40, "evidence"),
    "more lines": ("evidence/lines", 100_000, "evidence"),
    "another head": ("evidence/head", "0" * 64, "evidence"),
    "other records": ("evidence/digest", "0" * 64, "evidence"),
    "another event": ("audit/event", '[1.0,"route/triage","controller",{"rollout":"triage-1"}]', "audit trail"),
    "another trail": ("audit/head/hash", "0" * 64, "audit trail"),
    "another beginning": ("audit/previous", "0" * 64, "audit trail"),
    "another version": ("version", 2, "form"),
    "a field too many": ("more", 1, "form"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_was_changed(case: Case, name: str) -> None:
    path, value, line = CERTIFICATES[name]
    set_at(path, value)(case.certificate)
    found = refused(case.verify())
    assert line in found, found


@pytest.mark.parametrize(
    "change", [lambda data: data + b"\n", lambda data: data.replace(b":", b": ", 1), lambda _: b"{", lambda _: b""]
)
def test_only_the_canonical_form_is_read(case: Case, change: Callable[[bytes], bytes]) -> None:
    data = change(canonical.dumps(case.certificate))
    assert refused(verify(data, str(case.log))).keys() == {"form"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_byte_of_a_certificate_can_be_another(case: Case, at: float, bit: int) -> None:
    data = bytearray(canonical.dumps(case.certificate))
    data[int(at * len(data))] ^= 1 << bit
    assert verdict(verify(bytes(data), str(case.log))) is Status.REFUSED


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_a_record_can_be_another(case: Case, data: st.DataObject) -> None:
    """Another byte is another value, or the line is no JSON any more."""
    whole = case.segment.read_bytes()
    changed = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    changed[place] ^= 1 << data.draw(st.integers(0, 6))
    case.segment.write_bytes(changed)
    same = _values(bytes(changed)) == _values(whole)
    assert case.verdict() is (Status.OK if same else Status.REFUSED)
    case.segment.write_bytes(whole)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_a_part_can_mean_something_else(case: Case, data: st.DataObject) -> None:
    """A part that still says the same is confirmed; every other one, readable or not, is refused."""
    if (case.log / "segments").exists():
        case.ship()
    part = data.draw(st.sampled_from(sorted(case.log.rglob("*.parquet"))))
    whole = part.read_bytes()
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    part.write_bytes(changed)
    same = _rows(bytes(changed)) == _rows(whole)
    assert case.verdict() is (Status.OK if same else Status.REFUSED)
    part.write_bytes(whole)


def _rows(data: bytes) -> list[Json] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.ParquetFile(pa.BufferReader(data)).read().to_pylist())
    except (pa.ArrowException, OSError, ValueError):
        return None


def _values(data: bytes) -> list[Json] | None:
    try:
        lines = [json.loads(line) for line in data.splitlines() if line.strip()]
    except ValueError:
        return None
    return [{name: value for name, value in line.items() if value is not None} for line in lines]


# What was erased, and what nobody knows.


@pytest.mark.parametrize("shipped", [False, True], ids=["segments", "parts"])
@pytest.mark.parametrize("text", ["request_json", "response_json"])
def test_an_erased_text_is_never_confirmed(case: Case, text: str, shipped: bool) -> None:
    records = case.records()
    records[3][text] = None
    case.write_records(records)
    if shipped:
        case.ship()
    findings = case.verify()
    assert verdict(findings) is Status.UNCONFIRMED
    doubted = {one.line for one in findings if one.status is Status.UNCONFIRMED}
    assert {"records", "outcomes"} <= doubted
    assert {one.line for one in findings if "gate" in one.line} <= doubted


def test_a_kind_of_line_that_is_not_known(case: Case) -> None:
    """Another version may write what this one cannot read; what it says cannot be confirmed then."""
    lines = case.lines()
    lines.insert(60, {**lines[60], "kind": "survey"})
    case.write_lines(rechained(lines))
    case.certificate["evidence"].update(head=evidence.line_hash(lines[-1]), lines=len(lines))
    case.certificate["audit"] = None
    findings = case.verify()
    assert verdict(findings) is Status.UNCONFIRMED, findings
    assert "survey" in next(one.why for one in findings if one.line == "evidence")


# Signatures and adapters.


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    private = Ed25519PrivateKey.generate()
    secret, public = tmp_path / "key.pem", tmp_path / "public.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret.write_bytes(private.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return secret, public


def test_a_signature(case: Case, keys: tuple[Path, Path]) -> None:
    secret, public = keys
    key = signing.public_key(public)
    assert refused(case.verify(key=key)).keys() == {"signature"}, "not signed"
    case.certificate = signing.signed(case.certificate, secret)
    assert case.verdict() is case.verdict(key=key) is Status.OK
    assert refused(case.verify(key="0" * 64)).keys() == {"signature"}
    wrong = copy.deepcopy(case.certificate)
    wrong["signature"]["value"] = "0" * 128
    assert refused(verify(canonical.dumps(wrong), str(case.log))).keys() == {"signature"}
    other = {**case.certificate, "issued": {**case.certificate["issued"], "by": "me"}}
    assert "signature" in refused(verify(canonical.dumps(other), str(case.log)))


def test_a_key_that_cannot_be_used(case: Case, keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no key")
    for path in (tmp_path / "none.pem", tmp_path / "missing.pem", keys[1]):
        with pytest.raises(ConfigError, match=path.name):
            signing.signed(case.certificate, path)
    for path in (tmp_path / "none.pem", tmp_path / "missing.pem", keys[0]):
        with pytest.raises(ConfigError, match=path.name):
            signing.public_key(path)


def test_an_adapter_with_its_records(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "adapter")
    from graduand.gateway.adapters import provenance

    name = f"triage@{provenance.of(folder)['digest']}"
    world = World(tmp_path, student=name)
    world.store.state.add_adapter(name, "gpu", str(folder), who="ann")
    certificate = promoted(world, student=name)
    case = Case(certificate, tmp_path / "logs")
    known = certificate["adapter"]["provenance"]
    assert known["training"]["data"]["sha256"] == "d" * 64
    assert known["admission"]["record"]["digest"] == known["digest"]
    assert known["tests"] == {"tests": "e" * 64}
    assert case.verdict(adapter=folder) is Status.OK
    copied = shutil.copytree(folder, tmp_path / "copied")
    for file in ("adapter_model.safetensors", "admission.json", "run.json"):
        data = (copied / file).read_bytes()
        (copied / file).write_bytes(data + b" ")
        assert refused(case.verify(adapter=copied)).keys() == {"adapter"}, file
        (copied / file).write_bytes(data)
    (copied / "run.json").unlink()
    assert case.verdict(adapter=copied) is Status.UNCONFIRMED


def _adapter(folder: Path) -> Path:
    import numpy as np
    from safetensors.numpy import save_file

    from graduand.gateway.adapters import adapter

    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    save_file({"layers.0.q_proj.lora_A.weight": np.zeros((8, 4), np.float32)}, folder / "adapter_model.safetensors")
    run = {"data": {"sha256": "d" * 64, "rows": 3}, "base": {"name": "small", "revision": "1"}}
    (folder / "run.json").write_text(json.dumps(run))
    admission = {"digest": adapter.digest(folder), "checks": [], "tests": {"tests": "e" * 64}}
    (folder / "admission.json").write_text(json.dumps(admission))
    return folder


# What can be certified.


def test_what_was_not_promoted_has_no_certificate(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    world.look(3)
    with pytest.raises(RequestError, match="has not been promoted"):
        issued(world)


def test_what_an_earlier_version_began_has_no_certificate(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    with world.store.transaction():
        row = world.row
        row.trail = None
        world.store.write_row(row)
    world.look(3)
    world.verb("promote", full=True)
    with pytest.raises(RequestError, match="did not write its evidence down"):
        issued(world)


def test_a_promotion_past_the_gates_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    world.look(3)
    world.ask(20)
    world.look()
    world.verb("promote", full=True)
    certificate = issued(world)
    assert not certificate["certified"]
    assert certificate["decisions"][-1]["who"] == "ann"
    assert Case(certificate, tmp_path / "logs").verdict() is Status.OK


def test_what_came_after_the_promotion_is_in_no_ones_way(tmp_path: Path) -> None:
    world = World(tmp_path, named=True)
    first = promoted(world, audit=0.5)
    for _ in range(3):
        world.ask(50)
        world.look()
    second = issued(world)
    assert first["evidence"]["lines"] < second["evidence"]["lines"]
    world.verb("rollback")
    world.served()
    world.look(3)
    third = issued(world)
    assert third["rollout"]["phase"] == "rolled_back"
    for one in (first, second, third):
        assert Case(one, tmp_path / "logs").verdict() is Status.OK


def test_evidence_that_began_anew(tmp_path: Path) -> None:
    """After another candidate, a hold, a retry and another teacher the account and the claims are those of the promotion."""
    world = World(tmp_path)
    world.start()
    world.look(3)
    world.ask(20)
    world.look()
    world.verb("abort")
    world.look(2)
    world.start(key="second", **SHORT)
    world.look(3)
    world.ask(20)
    world.look()
    world.verb("pause")
    world.look()
    world.verb("resume")
    world.verb("rollback")
    world.served()
    world.look(2)
    world.verb("retry", salt="another")
    world.look(3)
    for _ in range(30):
        world.ask(12)
        world.look(1, step_s=2)
    certificate = issued(world)
    assert certificate["account"]["number"] == 3
    assert {claim["attempt"] for claim in certificate["claims"]} == {2}
    assert Case(certificate, tmp_path / "logs").verdict() is Status.OK


def test_nothing_secret_is_in_the_evidence(tmp_path: Path) -> None:
    world = World(tmp_path)
    hook = "https://hooks.example/secret-token"
    certificate = promoted(world, notify=[hook])
    said = json.dumps(certificate) + json.dumps(Case(certificate, tmp_path / "logs").lines())
    assert "secret-token" not in said
    assert "salt-1" not in said
    assert Case(certificate, tmp_path / "logs").verdict() is Status.OK


def test_state_in_redis(tmp_path: Path, state: str) -> None:
    world = World(tmp_path, state=state, named=True)
    assert Case(promoted(world), tmp_path / "logs").verdict() is Status.OK


def test_the_same_certificate_twice_is_two_lines(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = promoted(world)
    two = issued(world)
    assert two["evidence"]["lines"] == one["evidence"]["lines"] + 1
    assert issue.digest(one) == issue.digest(two)
