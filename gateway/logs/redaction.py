"""Takes personal data and secrets out of a record before it is written anywhere on disk.

Every text of the payloads is looked at (keys, numbers, JSON inside texts, and texts that are cut into tokens or parts),
and what is found is replaced by `[redacted:KIND]`. Invariants: a redacted payload is JSON as before; redacting again
changes nothing; the record says what was found where and how often, never what it was. A payload that is no JSON is not
kept at all: escapes in it could hide what no pattern sees. Must never write, log or raise with a value that it took out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import orjson

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.gateway.logs.patterns import KINDS, Kind, Span, compiled, own
from graduand.gateway.model import fields
from graduand.gateway.model.record import prompt_sha256
from graduand.gateway.model.recording import RecordPolicy

Json = dict[str, Any]
MAX_SPANS = 200
PRESIDIO_MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")
# A replacement may bring what stands beside it to look like something else; that ends soon.
MAX_ROUNDS = 8
Found = Counter[tuple[str, str]]  # (kind, where)


class Redactor:
    """Compiled once for a policy. `line` is for the log's writer, `text` for a single text."""

    def __init__(self, policy: RecordPolicy) -> None:
        """Raise ConfigError for an unknown kind, a pattern that is refused, or presidio where it is not installed."""
        for name in policy.kinds:
            if name not in KINDS:
                hint = did_you_mean(name, KINDS) or f" There are: {', '.join(KINDS)}."
                raise ConfigError(
                    f"redact: there is no kind {name!r}.{hint} A pattern of your own needs name and pattern"
                )
        self._kinds: list[Kind] = [KINDS[name] for name in policy.kinds]
        self._kinds += [own(one.name, one.pattern) for one in policy.patterns]
        self._kinds += [_presidio()] if policy.presidio else []
        names = [kind.name for kind in self._kinds]
        self.policy = ",".join(names)
        # Exactly these: what merely looks like a mark may hide something.
        self._marks = compiled("marks", r"\[redacted:(?:" + "|".join(names) + r")\]")

    def line(self, line: bytes) -> tuple[bytes, str, int]:
        """A record's line without what is to be taken out, its route, and how many spans were."""
        record = orjson.loads(line)
        spans = self.record(record)
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE), str(record.get("route")), spans

    def record(self, record: Json) -> int:
        """Redact a record in place; how many spans were taken out."""
        found: Found = Counter()
        declared = fields.TABLES["log"]
        payloads = {name: self._payload(record, name, found) for name in fields.named(declared, "payload")}
        request, looked_at = payloads.get("request_json"), quoting(declared)
        for name in record.keys() - looked_at.keys():  # a field that this version does not know
            record[name] = self._said(record[name], name, found, {})
        for name, inside in looked_at.items():
            if inside is not None and name in record:
                record[name] = self._said(record[name], name, found, inside)
        if "prompt_sha256" in record:
            # The hash of a short prompt can be guessed: only what may be read may be hashed.
            record["prompt_sha256"] = prompt_sha256(request) if isinstance(request, dict) else None
        spans = [
            {"kind": kind, "where": where, "count": count} for (kind, where), count in found.most_common(MAX_SPANS)
        ]
        record["redaction"] = {"policy": self.policy, "spans": spans}
        return found.total()

    def text(self, text: str) -> str:
        """One text without what is to be taken out."""
        return self._text(text, "", Counter())

    def _payload(self, record: Json, field: str, found: Found) -> Any:
        """Redact one payload; return its data."""
        text = record.get(field)
        if text is None:
            return None
        try:
            data = self._value(orjson.loads(text), field.removesuffix("_json"), found)
            record[field] = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS).decode()
        except (ValueError, TypeError, RecursionError):
            found["unreadable", field.removesuffix("_json")] += 1
            record[field] = None
            return None
        return data

    def _said(self, value: Any, where: str, found: Found, inside: "Quoting") -> Any:
        """What the gateway itself says of a request: its words may quote what came in, its numbers are its own."""
        if isinstance(value, list):
            return [self._said(one, f"{where}[{index}]", found, inside) for index, one in enumerate(value)]
        if isinstance(value, dict):
            return {
                key: one if further is None else self._said(one, f"{where}.{key}", found, further)
                for key, one in value.items()
                for further in (inside.get(key, {}),)
            }
        return self._text(value, where, found) if isinstance(value, str) else value

    def _value(self, value: Any, where: str, found: Found) -> Any:
        if isinstance(value, str):
            return self._nested(value, where, found)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, float) and not value.is_integer():
            return value  # the digits of one logarithm in twenty add up as a card's do
        if isinstance(value, int | float):
            text = str(value)
            redacted = self._text(text, where, found)
            return value if redacted == text else redacted
        if isinstance(value, list):
            if len(value) > 1 and (cut := _cut_texts(value)):
                value = self._joined(value, cut, where, found)
            return [self._value(one, f"{where}[{index}]", found) for index, one in enumerate(value)]
        return self._object(value, where, found)

    def _object(self, value: Json, where: str, found: Found) -> Json:
        whole = {}
        for key, one in value.items():
            clean = self._text(key, f"{where}.*", found)
            while clean in whole:  # two keys that differed in what was taken out only
                clean += "'"
            whole[clean] = self._value(one, f"{where}.{clean[:60]}", found)
        if isinstance(value.get("tokens"), list) and isinstance(whole.get("top_logprobs"), list):
            whole["top_logprobs"] = _without_alternatives(value["tokens"], whole["tokens"], whole["top_logprobs"])
        return whole

    def _nested(self, text: str, where: str, found: Found) -> str:
        """A text, which may be JSON itself: a tool's arguments are."""
        if text[:1] in ("{", "["):
            try:
                data = orjson.loads(text)
            except ValueError:
                return self._text(text, where, found)
            inside: Found = Counter()
            clean = self._value(data, f"{where}()", inside)
            if inside:
                found.update(inside)
                text = orjson.dumps(clean).decode()
        return self._text(text, where, found)

    def _text(self, text: str, where: str, found: Found) -> str:
        for _ in range(MAX_ROUNDS):
            spans = self._spans(text)
            if not spans:
                break
            pieces, at = [], 0
            for span in spans:
                found[span.kind, where] += 1
                pieces += [text[at : span.start], f"[redacted:{span.kind}]"]
                at = span.end
            text = "".join(pieces) + text[at:]
        return text

    def _spans(self, text: str) -> list[Span]:
        """What is to be taken out of a text, in order; what overlaps is one span."""
        found = [span for kind in self._kinds for span in kind.spans(text)]
        marks = [match.span() for match in self._marks.finditer(text)] if found and "[redacted:" in text else []
        whole: list[Span] = []
        for span in sorted(found, key=lambda one: (one.start, -one.end)):
            if any(start <= span.start and span.end <= end for start, end in marks):
                continue  # the name of a kind inside its own mark
            if whole and span.start < whole[-1].end:
                last = whole[-1]
                whole[-1] = Span(last.start, max(last.end, span.end), last.kind)
            else:
                whole.append(span)
        return whole

    def _joined(self, values: list[Any], cut: "_Cut", where: str, found: Found) -> list[Any]:
        """Texts that belong together (tokens, parts of a message): found across their borders, blanked in each."""
        texts = [cut.text(one) for one in values]
        spans = self._spans("".join(texts))
        if not spans:
            return values
        values, at = list(values), 0
        for index, text in enumerate(texts):
            clean, end = "", at
            for span in spans:
                if span.start < at + len(text) and span.end > at:
                    clean += text[max(end - at, 0) : max(span.start - at, 0)]
                    if span.start >= at:
                        found[span.kind, where] += 1
                        clean += f"[redacted:{span.kind}]"
                    end = span.end
            if end > at:
                values[index] = cut.replaced(values[index], clean + text[end - at :])
            at += len(text)
        return values


# By field: None if no words in it can quote a client, else the same for the objects that it holds.
Quoting = Mapping[str, "Quoting | None"]


@cache
def quoting(table: type) -> Quoting:
    """Which fields of a class may quote, by their declaration; payloads are looked at as what they are, not as words."""
    found: dict[str, Quoting | None] = {}
    for one in fields.of(table):
        inner = fields.inner(one.type)
        found[one.name] = None if one.field.words != "quoting" else {} if inner is None else quoting(inner)
    return found


class _Cut:
    """How the pieces of a cut text are read and replaced: plain strings, or objects with the text under a key."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def text(self, value: Any) -> str:
        text = value if self._key is None else value.get(self._key)
        return text if isinstance(text, str) else ""

    def replaced(self, value: Any, text: str) -> Any:
        if self._key is None:
            return text
        changed = {**value, self._key: text}
        if "bytes" in changed:
            changed["bytes"] = None
        if isinstance(changed.get("top_logprobs"), list):
            # The alternatives spell the same thing; their numbers are what a confidence is made of.
            tops = [one for one in changed["top_logprobs"] if isinstance(one, dict)]
            changed["top_logprobs"] = [{**one, "token": "", "bytes": None} for one in tops]
        return changed


def _cut_texts(values: Sequence[Any]) -> _Cut | None:
    """Whether a list's items are pieces of one text: strings, tokens with log probabilities, or text parts."""
    if all(isinstance(one, str) for one in values):
        return _Cut(None)
    if all(isinstance(one, dict) for one in values):
        for key in ("token", "text"):
            if any(isinstance(one.get(key), str) for one in values):
                return _Cut(key)
    return None


def _without_alternatives(before: list[Any], after: list[Any], tops: list[Any]) -> list[Any]:
    """Completions' alternatives: where a token was taken out they keep their numbers, under other names."""
    return [
        {str(index): one for index, one in enumerate(top.values())} if isinstance(top, dict) and old != new else top
        for old, new, top in zip(before, after, tops, strict=False)
    ] + tops[len(before) :]


def _presidio() -> Kind:
    """Presidio's analyzer for English with the largest model that is installed.

    Left to itself Presidio would download one, in every process: nothing is downloaded here.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
        from spacy.util import is_package
    except ImportError as error:
        raise ConfigError(
            "presidio: it is not installed; install graduand[presidio] and a language model for it, or remove presidio"
        ) from error
    model = next((name for name in PRESIDIO_MODELS if is_package(name)), None)
    if model is None:
        raise ConfigError(
            "presidio: it has no language model; run python -m spacy download en_core_web_lg, or remove presidio"
        )
    chosen = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
    engine = AnalyzerEngine(nlp_engine=NlpEngineProvider(nlp_configuration=chosen).create_engine())

    def find(text: str) -> Iterator[tuple[int, int]]:
        return ((one.start, one.end) for one in engine.analyze(text, language="en"))

    return Kind("presidio", find)
