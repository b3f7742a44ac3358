"""Verifies a certificate of promotion from the file and the log's parts alone: no gateway, no store, no network.

Each thing that the certificate says is one line of the findings: it is so, it is refused, or it could not be confirmed. A
line is refused where the log says something else, and could not be confirmed where the log does not say (a text was erased,
a kind of line is not known, no log was given). Nothing that was not looked at is ever called so. Memory is bounded whatever
the length of the log: evidence is read in its order, records in theirs, and what must wait waits on the disk.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import provenance
from graduand.gateway.control.certificate import issue, signing
from graduand.gateway.control.certificate.rederive import Context, Deriver
from graduand.gateway.control.certificate.shelf import Shelf
from graduand.gateway.errors import AdapterError, GraduandError
from graduand.gateway.logs import evidence_log
from graduand.gateway.logs.reading import LogDamaged, Reader, Source
from graduand.gateway.model import canonical, evidence
from graduand.gateway.state import trail
from graduand.rollout.certificate import claims, replaying
from graduand.rollout.certificate.replaying import Replay
from graduand.rollout.gates.account import Account
from graduand.rollout.spec.spec import spec_from_dict

Json = dict[str, Any]
SCHEMA_FILE = "certificate.schema.json"
# What reading something that nobody has written as it is may raise.
STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
# So many lines of one kind of trouble are told; the others are counted.
TOLD = 3


class Status(StrEnum):
    """What was found of a line."""

    OK = "ok"
    UNCONFIRMED = "could not confirm"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a certificate, and what was found of it."""

    line: str
    status: Status
    why: str = ""


def verdict(findings: list[Finding]) -> Status:
    """What all lines say together: the worst of them."""
    order = (Status.REFUSED, Status.UNCONFIRMED)
    return next((status for status in order if any(one.status is status for one in findings)), Status.OK)


@dataclass(slots=True)
class Trouble:
    """What is wrong with one line: the first few reasons, and whether it is refused."""

    refused: list[str] = field(default_factory=list)
    unconfirmed: list[str] = field(default_factory=list)
    more: int = 0

    def refuse(self, why: str) -> None:
        """The log says something else."""
        self._tell(self.refused, why)

    def doubt(self, why: str) -> None:
        """The log does not say."""
        self._tell(self.unconfirmed, why)

    def _tell(self, told: list[str], why: str) -> None:
        if len(told) < TOLD:
            told.append(why)
        else:
            self.more += 1

    def finding(self, line: str, ok: str = "") -> Finding:
        """The line with what was found."""
        told = "; ".join(self.refused or self.unconfirmed) + (f"; and {self.more} more" if self.more else "")
        if self.refused:
            return Finding(line, Status.REFUSED, told)
        return Finding(line, Status.UNCONFIRMED, told) if self.unconfirmed else Finding(line, Status.OK, ok)


def verify(data: bytes, log: str | None = None, adapter: Path | None = None, key: str | None = None) -> list[Finding]:
    """Everything that a certificate says, and what was found of it. `log` is the address or the folder of the log's parts,
    `adapter` the folder of the adapter, `key` the public key of who must have signed."""
    try:
        certificate = canonical.loads(data)
        problem = _misfit(certificate)
    except canonical.NotCanonical as error:
        problem = str(error)
    if problem:
        return [Finding("form", Status.REFUSED, problem)]
    found = [
        Finding("form", Status.OK, f"canonical, version {certificate['version']}"),
        _signature(certificate, key),
        _adapter(certificate, adapter),
        _audit(certificate),
    ]
    if log is None:
        return [*found, Finding("evidence", Status.UNCONFIRMED, "no log was given: name its folder with --log")]
    shelf = Shelf()
    try:
        return [*found, *Reading(certificate, Source.of(log), shelf).findings()]
    finally:
        shelf.close()


@cache
def schema() -> Json:
    """The JSON Schema of a certificate."""
    found: Json = json.loads(resources.files(__package__).joinpath(SCHEMA_FILE).read_bytes())
    return found


def _misfit(certificate: Any) -> str:
    """Why this is no certificate as this version knows them; empty if it is one."""
    import jsonschema_rs

    error = next(jsonschema_rs.validator_for(schema()).iter_errors(certificate), None)
    return (
        ""
        if error is None
        else f"it is no certificate of this version: {error.message} at /{'/'.join(map(str, error.instance_path))}"
    )


def _signature(certificate: Json, key: str | None) -> Finding:
    name, signature = "signature", certificate.get("signature")
    if signature is None:
        if key is not None:
            return Finding(name, Status.REFUSED, "it is not signed, and a key was given")
        return Finding(name, Status.OK, "none: nobody vouches for it but the log")
    if not signing.fits(certificate):
        return Finding(name, Status.REFUSED, "it is not that of this content by the key that is named")
    if key is not None and signature["public_key"] != key:
        return Finding(name, Status.REFUSED, f"another key has signed it: {signature['public_key']}")
    who = "the key that was given" if key is not None else f"key {signature['public_key']}; --key says whom you trust"
    return Finding(name, Status.OK, f"by {who}")


def _adapter(certificate: Json, folder: Path | None) -> Finding:
    told, claimed = Trouble(), certificate["adapter"]
    name, student = claimed["name"], certificate["specification"]["spec"]["student"]
    if not name == student == certificate["rollout"]["student"]:
        told.refuse(f"the specification is about {student}, not about {name}")
    if claimed["digest"] != (name.rpartition("@")[2] if "@" in name else None):
        told.refuse(f"{name} has another digest than {claimed['digest']}")
    known = claimed["provenance"]
    if known is not None and known["digest"] != claimed["digest"]:
        told.refuse(f"its files have the digest {known['digest']}")
    if folder is not None:
        _compare_files(told, claimed, folder)
    looked = "" if folder is not None else "; --adapter looks at its files"
    return told.finding("adapter", f"{name}{looked}")


def _compare_files(told: Trouble, claimed: Json, folder: Path) -> None:
    try:
        there = provenance.of(folder)
    except (AdapterError, OSError) as error:
        told.refuse(str(error))
        return
    if there["digest"] != claimed["digest"]:
        told.refuse(f"the files in {folder} have the digest {there['digest']}")
    known = claimed["provenance"]
    if known is None:
        told.doubt(f"the certificate knows nothing of its files: {claimed['why']}")
        return
    for part in ("files", "admission", "training", "tests"):
        if known[part] is not None and there[part] is None:
            told.doubt(f"{part}: no such file is in {folder}")
        elif known[part] != there[part]:
            told.refuse(f"{part}: the files in {folder} say something else")


def _audit(certificate: Json) -> Finding:
    told, claimed = Trouble(), certificate["audit"]
    if claimed is None:
        told.doubt("the promotion's event is not kept, or the promotion changed no route")
        return told.finding("audit trail")
    at, hashed = claimed["number"], trail.after(claimed["previous"], trail.content(claimed["number"], claimed["event"]))
    what = _what(claimed["event"])
    if what.get("rollout") != certificate["rollout"]["id"]:
        told.refuse("its event is not about this rollout")
    for later in claimed["later"]:
        at, hashed = at + 1, trail.after(hashed, later)
    if {"number": at, "hash": hashed} != claimed["head"]:
        told.refuse("its events do not lead to its head")
    return told.finding("audit trail", f"event {claimed['number']} leads to event {at}, hash {hashed}")


def _what(event: str) -> Json:
    """What an event of the audit trail says; nothing if it cannot be read."""
    try:
        what = json.loads(event)[3]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return what if isinstance(what, dict) else {}


class Reading:
    """One reading of the log for one certificate."""

    def __init__(self, certificate: Json, log: Source, shelf: Shelf) -> None:
        self._certificate = certificate
        self._log = log
        self._shelf = shelf
        self._rollout: str = certificate["rollout"]["id"]
        self._replay = Replay(shelf.first)
        self._context = Context()
        self._deriver: Deriver | None = None
        self._claims: list[Json] = []  # as the evidence tells them
        self._decisions: dict[int, Json] = {}
        self._account: Json = {}
        self._unknown, self._issued = "", ""
        audit = certificate["audit"]
        named = None if audit is None else _what(audit["event"]).get("evidence")
        self._named: list[Any] | None = named if isinstance(named, list) and len(named) == 2 else None
        self._linked = False
        self._read, self._digest, self._parts = 0, "", 0
        names = ("specification", "account", "evidence", "decisions", "records", "outcomes", "parts", "audit", "claims")
        self._told = {name: Trouble() for name in names}

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        try:
            self._evidence()
            if self._replay.state is not None:
                self._deriver = Deriver(self._replay.state, self._replay.task)
            self._records()
        except LogDamaged as error:
            yield Finding("log", Status.REFUSED, str(error))
            return
        except GraduandError as error:
            yield Finding("log", Status.UNCONFIRMED, str(error))
            return
        except STRANGE as error:
            yield Finding("log", Status.REFUSED, f"it holds what Graduand does not write: {error!r}")
            return
        for number, body, context in self._shelf.cases():
            self._outcome(number, body, Context(**context))
        self._statements()
        told, lines = self._told, self._certificate["evidence"]
        pairs = f"those of {self._shelf.count('cases')} pairs follow from their records"
        yield told["specification"].finding("specification", self._certificate["specification"]["digest"])
        yield told["account"].finding("account of alpha", _share(self._certificate["account"]))
        yield told["decisions"].finding("decisions", f"{len(self._certificate['decisions'])} events")
        yield told["evidence"].finding("evidence", f"{lines['lines']} lines, hash {lines['head']}")
        yield told["records"].finding("records", f"{lines['records']} records")
        yield told["outcomes"].finding("outcomes", pairs)
        yield told["parts"].finding("parts", f"{self._parts} parts are as they were shipped")
        yield told["audit"].finding("audit trail and evidence")
        yield from self._gates()
        if self._certificate["threshold"] is not None:
            yield Finding(
                "threshold", Status.UNCONFIRMED, "how a confidence threshold was learnt is not in the evidence"
            )

    # The evidence, in its order.

    def _evidence(self) -> None:
        claimed, told = self._certificate["evidence"], self._told["evidence"]
        number, head = 0, ""
        for line in evidence_log.lines(self._log, self._rollout):
            number += 1
            if line["number"] != number or line["previous"] != head or line["rollout"] != self._rollout:
                told.refuse(
                    f"line {number} does not follow from the one before it: one was changed, moved or taken out"
                )
                return
            head = evidence.line_hash(line)
            self._line(number, line)
            if number == claimed["lines"]:
                break
            self._link(number, head)
        if number < claimed["lines"]:
            told.refuse(f"the log is cut short: line {number + 1} of {claimed['lines']} is missing")
        elif head != claimed["head"]:
            told.refuse(f"line {number} or one before it was changed")
        elif self._issued != issue.digest(self._certificate):
            told.refuse("the certificate that was issued said something else")
        if (self._read, self._digest) != (claimed["records"], claimed["digest"]) and not told.refused:
            told.refuse("the records that were read are others")
        self._link(number, head)
        if self._certificate["audit"] is None:
            self._told["audit"].doubt("the certificate has no event of the audit trail")
        elif not self._linked:
            self._told["audit"].refuse("the promotion's event in the audit trail names other evidence")

    def _link(self, number: int, head: str) -> None:
        """The audit trail names the evidence on which the promotion was decided."""
        if self._named is not None and self._named[0] == number:
            self._linked = self._named == [number, head]

    def _line(self, number: int, line: Json) -> None:
        told, kind = self._told["evidence"], line["kind"]
        if kind not in replaying.KINDS or line["schema_version"] > evidence.SCHEMA_VERSION:
            self._unknown = self._unknown or f"line {number} is of kind {kind!r}, which this version does not know"
            told.doubt(self._unknown)
            return
        try:
            body = canonical.loads(line["body"].encode())
            if problem := self._replay.take(kind, body):
                (told.doubt if self._unknown else told.refuse)(f"line {number}, {kind}: {problem}")
            self._note(number, kind, body, line["text"])
        except STRANGE as error:
            told.refuse(f"line {number}, {kind}, cannot be read: {error!r}")

    def _note(self, number: int, kind: str, body: Json, text: str | None) -> None:
        """What has to be looked at once the records are there."""
        told, context = self._told["evidence"], self._context
        if self._replay.ledger is not None:
            context.weight_bp = self._replay.ledger.weight_bp
        match kind:
            case "read":
                for name, frame, asked, answered in body["records"]:
                    self._read += 1
                    digest = (name, frame, asked, answered)
                    self._digest = evidence.running(self._digest, digest)
                    if not self._shelf.put_record(self._read, digest):
                        told.refuse(f"line {number}: record {name} was read twice")
            case "served":
                if not self._shelf.put_served(number, body, context.to_dict()):
                    told.refuse(f"line {number}: request {body['record']} was counted twice")
            case "pair":
                self._shelf.put_case(number, body, context.to_dict())
            case "verdict":
                said = evidence.text_hash(text)
                erased = text is None and body["sha256"] is not None
                if said != body["sha256"] and not erased:
                    told.refuse(f"line {number}: the judge said something else")
                self._shelf.put_verdict(body["record"], str(body["question"]), text, erased=erased)
            case "part":
                self._shelf.put_part(body["name"].rpartition("/")[2], body["sha256"], number)
            case "certificate":
                self._issued = body["sha256"]
            case "event":
                context.entry_version, context.incumbent = body["entry_version"], body["incumbent"]
                event = body["event"]
                self._decisions[body["version"]] = {
                    "version": body["version"], "phase": body["phase"], "kind": event["kind"], "at": event["at"],
                    "who": event["actor"], "reason": event["reason"],
                }  # fmt: skip
                if body["claim"] is not None:
                    self._claims.append(body["claim"])
                    if body["claim"] == self._certificate["claims"][-1]:
                        self._account = self._replay.account

    # The records, in theirs.

    def _records(self) -> None:
        told = self._told["records"]
        self._parts = self._shelf.count("parts")
        for file in Reader(self._log).files():
            last, erased = 0, False
            kind = "segment" if file.sha256 is None else "part"
            for record in file.records:
                if (
                    record.get("rollout") != self._rollout
                    or (known := self._shelf.record(str(record.get("id")))) is None
                ):
                    erased = erased or record.get("request_json") is None
                    continue  # of another rollout, or from after the certificate was issued
                place, digest = known
                how = self._compared(digest, record)
                erased = erased or how == "erased"
                if how == "other":
                    told.refuse(f"record {digest[0]} was changed")
                if not self._shelf.put_found(digest[0], kind, how):
                    told.refuse(f"record {digest[0]} is there twice")
                elif place < last:
                    told.refuse(f"record {digest[0]} stands in {file.name} behind one that was read after it")
                last = max(last, place)
                self._look(record)
            self._part(file.name, file.sha256, erased=erased)
        if (lost := self._shelf.lost()) is not None:
            told.refuse(f"record {lost[0]}, which was read as number {lost[1]}, is not in the log")
        if count := self._shelf.erased():
            told.doubt(f"texts of {count} records were erased")
        for name in self._shelf.parts_left():
            self._told["parts"].refuse(f"part {name} is missing")

    def _compared(self, known: evidence.Digest, record: Json) -> str:
        """Whether a record is what was read: `same`, `other`, or `erased` where a text is there no longer."""
        try:
            found = evidence.digest(record)
        except STRANGE:
            return "other"
        if found[1] != known[1]:
            return "other"
        # A text that the reader was not given, because nothing is compared with it, has no hash.
        texts = [(had, has) for had, has in zip(known[2:], found[2:], strict=True) if had is not None]
        if any(has is not None and had != has for had, has in texts):
            return "other"
        return "erased" if any(has is None for _, has in texts) else "same"

    def _look(self, record: Json) -> None:
        """What is counted by itself is looked at; what belongs to a pair waits for the others."""
        name = str(record["id"])
        line = self._shelf.served(name)
        if line is not None and self._deriver is not None:
            number, body, context = line
            if problem := self._deriver.served(Context(**context), body, record):
                self._told["outcomes"].refuse(f"line {number}, request {name}: {problem}")
        self._shelf.keep(name, record)

    def _part(self, name: str, sha256: str | None, *, erased: bool) -> None:
        if sha256 is None or (known := self._shelf.take_part(name.rpartition("/")[2])) is None or known == sha256:
            return
        if erased:
            self._told["parts"].doubt(f"{name} is not as it was shipped: texts in it were erased")
        else:
            self._told["parts"].refuse(f"{name} is not as it was shipped")

    # What follows from both.

    def _outcome(self, number: int, body: Json, context: Context) -> None:
        told = self._told["outcomes"]
        records = [self._shelf.kept(number, one) for one in body["records"]]
        found = [self._shelf.found(one) for one in body["records"]]
        name = body["records"][0]
        if None in found:
            told.refuse(f"line {number}: not all records of request {name} are in the log")
            return
        said, erased = self._shelf.verdicts(name)
        if "erased" in found or erased:
            told.doubt(f"line {number}: a text of request {name} was erased")
            return
        kept = [one for one in records if one is not None]
        if self._deriver is not None and (problem := self._deriver.pair(context, body, kept, said)):
            told.refuse(f"line {number}, request {name}: {problem}")

    def _statements(self) -> None:
        certificate, replay, told = self._certificate, self._replay, self._told
        given = certificate["specification"]
        if replay.state is None:
            for name in ("specification", "account", "decisions", "claims"):
                told[name].doubt("the log has no evidence of this rollout")
            return
        known = replaying.shown(replay.state)["spec"]
        if (given["spec"], given["digest"], given["task"]) != (
            json.loads(json.dumps(known)),
            replay.digest,
            replay.task,
        ):
            told["specification"].refuse("the rollout ran by another one")
        elif spec_from_dict(given["spec"]).route != certificate["rollout"]["route"]:
            told["specification"].refuse("it is about another route")
        account = certificate["account"]
        if Account.of(account).to_dict() != account:
            told["account"].refuse("its shares do not add up")
        elif account != self._account:
            told["account"].refuse("the rollout drew from another one")
        self._compare_decisions()
        state, rollout = replay.state, certificate["rollout"]
        last = certificate["claims"][-1]
        named = {"phase": state.phase.value, "version": state.version, "id": state.id, "promoted_at": last["at"]}
        if {name: rollout[name] for name in named} != named:
            told["decisions"].refuse("the rollout stands elsewhere")
        if last["to"] != "promoted" or certificate["certified"] != all(map(claims.certified, certificate["claims"])):
            told["claims"].refuse("the claims are not those of a promotion")

    def _compare_decisions(self) -> None:
        told = self._told["decisions"]
        given = {one["version"]: one for one in self._certificate["decisions"]}
        for version in sorted(given.keys() | self._decisions.keys()):
            if version not in self._decisions:
                told.doubt(f"the event of version {version} is not in the evidence")
            elif given.get(version) != self._decisions[version]:
                told.refuse(f"the event of version {version} was another one")

    def _gates(self) -> Iterator[Finding]:
        """One line for each gate of each step: is E what the records say?"""
        made = [one for one in self._replay.claims if one["attempt"] == self._certificate["claims"][-1]["attempt"]]
        doubts = [self._told[name] for name in ("evidence", "records", "outcomes")]
        for at, claim in enumerate(self._certificate["claims"]):
            again = made[at] if at < len(made) else None
            if claim not in self._claims:
                self._told["claims"].refuse(f"the evidence has no such claim about step {claim['step']}")
            told = Trouble()
            if differs := replaying.difference(_bare(again or {}), _bare(claim)):
                (told.doubt if self._unknown else told.refuse)(f"recomputed, {differs}")
            yield told.finding(
                f"{claim['step']}: step, path test and shares of the arms", f"on to {claim['to']} by {claim['who']}"
            )
            for side in ("gates", "harm"):
                for place, gate in enumerate(claim[side]):
                    told = Trouble()
                    other = again[side][place] if again is not None and place < len(again[side]) else None
                    if not replaying.made_again(gate["signal"]):
                        told.doubt(f"what feeds {gate['signal']} is not in the evidence")
                    elif differs := replaying.difference(other, gate):
                        (told.doubt if self._unknown else told.refuse)(f"recomputed, {differs}")
                    for doubt in doubts:
                        if doubt.refused:
                            told.refuse("what it rests on is refused")
                        elif doubt.unconfirmed:
                            told.doubt("what it rests on could not be confirmed")
                    side_of = "harm gate" if side == "harm" else "gate"
                    yield told.finding(f"{claim['step']}: {side_of} {gate['name']}", gate["says"])
        yield self._told["claims"].finding("claims", f"{len(self._certificate['claims'])} steps")


def _share(account: Json) -> str:
    return f"candidate {account['number']} of the route, {account['share']:.4g} of its alpha"


def _bare(claim: Json) -> Json:
    """A claim without its gates, which are lines of their own."""
    return {name: value for name, value in claim.items() if name not in ("gates", "harm")}
