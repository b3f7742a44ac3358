"""Verifies a certificate of promotion without Graduand: python verify_certificate.py FILE --log FOLDER [--adapter DIR]

Written from docs/certificate.md, to show that it can be done; needs pyarrow, and cryptography for a signature. It checks every
hash, the account of alpha, the order and content of the log, and computes the evidence of the promotion's gates again from the
outcomes of pairs. That an outcome follows from its two answers, and the harm gates, it leaves to `graduand rollout verify`,
whose exit codes it has: 0 confirmed, 3 refused, 4 could not be confirmed.
"""

import argparse
import hashlib
import itertools
import json
import math
import re
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GAP_S, MOST_OPEN, CYCLES = 1800.0, 4096, {"24h": 86400.0, "7d": 604800.0, "none": 0.0}
PATHS = {"shadow": "copies", "canary": "served", "hybrid": "served", "full": "served"}
TEXTS = ("request_json", "response_json")
REFUSED, DOUBTED = [], []


def check(right, what):
    REFUSED.extend([] if right else [what])


def sha(value):
    return hashlib.sha256(value if isinstance(value, bytes) else value.encode()).hexdigest()


def without(value, *names):
    return {name: one for name, one in value.items() if name not in names}


def canonical(value, record=False):
    """RFC 8785. A record has nothing that is null, and whole numbers that are not exact in a double are text."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        there = (name for name in names if not record or value[name] is not None)
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name], record)}" for name in there) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(one, record) for one in value) + "]"
    if not isinstance(value, float):
        large = record and isinstance(value, int) and abs(value) > 2**53 - 1
        return json.dumps(str(value) if large else value, ensure_ascii=False)
    if value and not 1e-6 <= abs(value) < 1e21:
        return repr(value).replace("e-0", "e-")
    text = format(Decimal(repr(value or 0)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rows(path):
    """The rows of a part, or the lines of a segment."""
    if path.suffix == ".jsonl":
        yield from map(json.loads, path.read_bytes().splitlines())
        return
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
        for row in batch.to_pylist():
            extra = json.loads(row.pop("extra", None) or "{}")
            yield {**row, **extra}


class Bets:
    """Evidence that the mean of observations is above p0: 25 bets that never change."""

    def __init__(self, p0):
        self.p0, self.p_min, self.n, self.logs = p0, None, 0, [0.0] * 25

    def update(self, x, p):
        step = self.p_min / p * (x - self.p0) / self.p0
        self.logs = [log + math.log1p((0.02 + 0.04 * at) * step) for at, log in enumerate(self.logs)]
        self.n += 1

    def log_e(self):
        top = max(self.logs)
        return top + math.log(math.fsum(math.exp(log - top) for log in self.logs) / 25) if self.n else 0.0


class Gates:
    """The gates of the promotion: sessions of units, each one observation, counted when their cycle has ended."""

    def __init__(self, state):
        self.spec, self.cycle = state["spec"], CYCLES[state["spec"]["cycle"]]
        self.basis = None
        self.follow(state)

    def follow(self, state):
        """An event has happened."""
        if state["basis"] != self.basis:
            self.basis, self.entry, self.held = state["basis"], None, False
            self.open, self.known, self.courses, self.step = {}, set(), {}, ""
        self.phase = state["held"] or state["phase"]
        if state["entry"] != self.entry:
            self.open, self.entry, self.began = {}, state["entry"], state["entered_at"]
            step = (
                self.spec["steps"][state["step"]] if state["step"] >= 0 else {"proof": False, "kind": "", "dwell_s": 0}
            )
            self.step = step["kind"] + (f"-{step['weight_bp'] / 100:g}" if step["kind"] == "canary" else "")
            self.cut_s = min(GAP_S, max(1.0, step["dwell_s"]))
            if step["proof"] and self.phase in PATHS:
                fresh = {gate["name"]: [Bets(gate["start"]["p0"]) for _ in "ab"] for gate in self.spec["gates"]}
                self.courses.setdefault(self.step, fresh)
                self.spoil()
        before, self.held = self.held, state["phase"] == "hold" and state["hold"] not in ("no_data", "lease_lost")
        if before != self.held and self.cycle:
            self.open, self.began = {}, state["updated_at"]
            self.spoil()

    def course(self):
        return self.courses.get(self.step, {}) if self.phase in PATHS else {}

    def spoil(self):
        for _, waiting in self.course().values():
            waiting.logs, waiting.n = [0.0] * 25, 0

    def tick(self, now):
        self.cut(now, GAP_S)
        while self.cycle and self.course() and not self.held and now >= self.began + self.cycle:
            self.cut()
            for bets, waiting in self.course().values():
                bets.logs, bets.n = list(map(sum, zip(bets.logs, waiting.logs, strict=True))), bets.n + waiting.n
            self.spoil()
            self.began += self.cycle
        if not self.cycle and self.course() and now >= self.began + self.cut_s:
            self.cut()
            self.cut_s = 2 * (now - self.began)

    def cut(self, now=0.0, gap_s=-math.inf):
        while self.open and now - next(iter(self.open.values()))["last"] > gap_s:
            self.ended(self.open.pop(next(iter(self.open))))

    def pair(self, pair):
        unit, key, draw = pair["unit"], (pair["path"], pair["unit"]), (pair["p"], pair["of_step"])
        found = None if unit is None else self.open.pop(key, None)
        if found and (pair["at"] - found["last"] > GAP_S or (found["p"], found["of_step"]) != draw):
            self.ended(found)
            found = None
        found = found or {**pair, "last": pair["at"], "sums": {}}
        found["last"] = max(found["last"], pair["at"])
        for gate in self.spec["gates"]:
            there, value = outcome(pair, gate["signal"])
            total, count = found["sums"].get(gate["name"], (0.0, 0))
            if there:  # a missing outcome is a disagreement
                found["sums"][gate["name"]] = (total + (value or 0.0), count + 1)
        self.open[key] = found
        if unit is None or len(self.open) > MOST_OPEN:
            self.ended(self.open.pop(key if unit is None else next(iter(self.open))))

    def check(self, claim):
        for gate in claim["gates"]:
            bets, where = self.courses[claim["step"]][gate["name"]][0], f"{claim['step']}, gate {gate['name']}"
            print(f"{where}: E = exp({bets.log_e():.6g}) of {bets.n} observations")
            if gate["signal"].startswith(("latency", "correctness")):
                DOUBTED.append(f"{where}: times and labels are not looked at here")
            elif bets.n != gate["n"] or abs(bets.log_e() - gate["log_e"]) > 1e-6 * max(1.0, abs(gate["log_e"])):
                REFUSED.append(f"{where}: its evidence is another")

    def ended(self, sitting):
        """A session is over: its mean is one observation."""
        proves = PATHS[self.phase] if self.course() and not (self.held and self.cycle) else None
        if not sitting["of_step"] or sitting["path"] != proves:
            return
        once = (self.step, sitting["unit"])
        new = sitting["unit"] is None or once not in self.known
        self.known.add(once)
        for name, (total, count) in sitting["sums"].items() if new or self.spec["claim"] != "users" else ():
            bets, waiting = self.course()[name]
            if not bets.n and not waiting.n:
                bets.p_min = waiting.p_min = sitting["p"]
            (waiting if self.cycle else bets).update(total / count, max(sitting["p"], bets.p_min))


def outcome(pair, signal):
    """Whether a pair says something to a gate, and what."""
    name, _, part = signal.partition("@")
    kind, _, field = name.partition(":")
    same = pair["fields"].get(field) if field else pair["agreed"]
    if part and part not in pair["slices"]:
        return False, None
    if kind == "agreement":
        return not field or same is not None or pair["agreed"] is None, same
    if kind == "incumbent":
        return pair["duel"] != "equal", {"won": 1.0, "lost": 0.0}.get(pair["duel"])
    return kind in ("score", "check"), pair["checks"].get(field) if kind == "check" else pair["score"]


def evidence_of(certificate, log):
    """Read the evidence in the order of its lines; the digests of the records and parts that it names."""
    claimed, claims, records, parts = certificate["evidence"], list(certificate["claims"]), {}, {}
    number, head, running, issued, gates, drew, hashes = 0, "", "", "", None, None, {}
    files = ((re.search(r"-(\d{12})-[0-9a-f]{32}$", path.stem), path) for path in log.glob("evidence/**/*.parquet"))
    every = (line for _, path in sorted((found[1], path) for found, path in files if found) for line in rows(path))
    own = (line for line in every if line["rollout"] == certificate["rollout"]["id"])
    for number, line in enumerate(itertools.islice(own, claimed["lines"]), 1):
        body, kind = json.loads(line["body"]), line["kind"]
        if (line["number"], line["previous"]) != (number, head):
            REFUSED.append(f"line {number} does not follow from the one before it")
            break
        head = hashes[number] = sha(canonical(without(line, "text")))
        if kind == "begin":
            gates, account = gates or Gates(body["state"]), body["account"]
            known = {"spec": body["state"]["spec"], "digest": body["digest"], "task": body["task"]}
            check(certificate["specification"] == known, "the rollout ran by another specification")
        elif kind == "read":
            for one in body["records"]:
                running, records[one[0]] = sha(canonical([running, one])), (len(records), one)
        elif kind in ("pair", "tick"):
            gates.tick(body["at"])
            gates.pair(body) if kind == "pair" else None
        elif kind == "part":
            parts[body["name"].rpartition("/")[2]] = body["sha256"]
        elif kind == "certificate":
            issued = body["sha256"]
        elif kind == "verdict" and (line["text"] and sha(line["text"])) != body["sha256"]:
            (REFUSED if line["text"] else DOUBTED).append(f"line {number}: the judge's words are others, or erased")
        elif kind == "event":
            if body["claim"] in claims:
                drew = account
                claims.remove(body["claim"])
                gates.check(body["claim"])
            gates.follow(body)
        elif kind not in ("served", "verdict"):
            DOUBTED.append(f"line {number} is of a kind that is not known here: {kind}")
    check((number, head) == (claimed["lines"], claimed["head"]), "the evidence is cut short, or another")
    check((len(records), running) == (claimed["records"], claimed["digest"]), "other records were read")
    said = sha(canonical(without(certificate, "evidence", "audit", "signature")))
    check(issued == said, "the certificate that was issued said something else")
    check(not claims and drew == certificate["account"], "the evidence has other claims, or another account of alpha")
    found = sum(drew["promoted"]) if drew["promise"] == "share" else 0
    share = min(1.0, (found + 1) * 6 / (math.pi * (len(drew["promoted"]) + 1)) ** 2)
    check(math.isclose(share, drew["share"]), "the account of alpha does not add up")
    if (audit := certificate["audit"]) is None:
        DOUBTED.append("it has no event of the audit trail")
        return records, parts
    hashed, (number, head) = audit["previous"], json.loads(audit["event"])[3]["evidence"]
    for content in (sha(f"{audit['number']}\n{audit['event']}"), *audit["later"]):
        hashed = sha(f"{hashed}\n{content}")
    end = {"number": audit["number"] + len(audit["later"]), "hash": hashed}
    check(audit["head"] == end, "the audit trail has another head")
    check(hashes.get(number) == head, "the audit trail names other evidence")
    return records, parts


def check_records(certificate, log, known, parts):
    """Compare every record that was read with the log."""
    seen, erased = set(), 0
    for path in sorted(log.glob("dt=*/**/*.parquet")) + sorted(log.glob("segments/*.jsonl")):
        last, gone = -1, False
        for record in rows(path):
            if record.get("rollout") != certificate["rollout"]["id"] or record["id"] not in known:
                gone = gone or record.get("request_json") is None
                continue
            place, (name, frame, *texts) = known[record["id"]]
            pairs = [(had, record.get(text)) for had, text in zip(texts, TEXTS, strict=True) if had is not None]
            same = sha(canonical(without(record, *TEXTS), record=True)) == frame
            check(same and all(has is None or sha(has) == had for had, has in pairs), f"record {name} was changed")
            check((path.suffix, name) not in seen and place > last, f"record {name} is there twice, or moved")
            seen.add((path.suffix, name))
            lost = any(has is None for _, has in pairs)
            last, gone, erased = place, gone or lost, erased + lost
        if parts.pop(path.name, sha(path.read_bytes())) != sha(path.read_bytes()):
            (DOUBTED if gone else REFUSED).append(f"{path.name} is not as it was shipped")
    check(known.keys() == {name for _, name in seen} and not parts, "records or parts are missing in the log")
    DOUBTED.extend([f"texts of {erased} records were erased"] if erased else [])


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, more in {"file": {}, "--log": {"required": True}, "--adapter": {}}.items():
        options.add_argument(name, type=Path, **more)
    given = options.parse_args()
    try:
        data = given.file.read_bytes()
        certificate = json.loads(data)
        name, known = certificate["adapter"]["name"], certificate["adapter"]["digest"]
        check(canonical(certificate).encode() == data and certificate["version"] == 1, "this is not its canonical form")
        student = certificate["specification"]["spec"]["student"]
        check(name == student and known == name.rpartition("@")[2], "the specification is about another adapter")
        if given.adapter is not None:
            files = [given.adapter / file for file in ("adapter_config.json", "adapter_model.safetensors")]
            check(sha(b"".join(file.read_bytes() for file in files))[:12] == known, "the adapter's files are others")
        if "signature" in certificate:
            key, value = (bytes.fromhex(certificate["signature"][name]) for name in ("public_key", "value"))
            signed = canonical(without(certificate, "signature")).encode()
            Ed25519PublicKey.from_public_bytes(key).verify(value, signed)
        check_records(certificate, given.log, *evidence_of(certificate, given.log))
    except Exception as error:
        REFUSED.append(f"it cannot be read: {error!r}")
    print(*(f"refused: {one}" for one in REFUSED), *(f"could not confirm: {one}" for one in DOUBTED), sep="\n")
    print("refused" if REFUSED else "could not confirm" if DOUBTED else "confirmed")
    return 3 if REFUSED else 4 if DOUBTED else 0


if __name__ == "__main__":
    raise SystemExit(main())
