"""What counts as an email address, a phone number, a card, an IBAN, an IP address or a secret: patterns and checks.

All patterns run in RE2, whose time grows with the text's length and never more, so no text and no pattern of a user's
own can hold the log up. A kind finds spans; numbers must also pass their own check (Luhn for cards, mod 97 for IBANs).
"""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import re2

from graduand.gateway.errors import ConfigError

MAX_MEMORY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a text are of this kind."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing to take out: `find` gives (start, end) pairs."""

    name: str
    find: Callable[[str], Iterator[tuple[int, int]]]

    def spans(self, text: str) -> Iterator[Span]:
        """Where it stands in `text`."""
        for start, end in self.find(text):
            yield Span(start, end, self.name)


def compiled(name: str, pattern: str) -> Any:
    """An RE2 pattern; what RE2 cannot do in linear time (look-around, back-references) is refused by ConfigError."""
    options = re2.Options()
    options.max_mem = MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ConfigError(
            f"redact: the pattern of {name!r} cannot be used: {text}; RE2's syntax has no look-around and no back-references"
        ) from error


def plain(name: str, pattern: str) -> Kind:
    """Whatever a pattern matches."""
    found = compiled(name, pattern)

    def find(text: str) -> Iterator[tuple[int, int]]:
        return ((match.start(), match.end()) for match in found.finditer(text) if match.end() > match.start())

    return Kind(name, find)


def own(name: str, pattern: str) -> Kind:
    """A user's own kind; raise ConfigError if RE2 does not take the pattern or it matches nothing at all."""
    if compiled(name, pattern).match("") is not None:
        raise ConfigError(
            f"redact: the pattern of {name!r} matches the empty text; make it match what is to be taken out"
        )
    return plain(name, pattern)


# Email addresses.

EMAIL = r"[\pL\pN._%+'\-]+@[\pL\pN\-]+(?:\.[\pL\pN\-]+)*\.\pL{2,}"

# Secrets: prefixes that their issuers document so that leaked keys can be found.

SECRET = "|".join(
    (
        r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{16,}",  # OpenAI, Anthropic, Stripe
        r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",  # AWS
        r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}",
        r"glpat-[A-Za-z0-9_\-]{16,}",
        r"xox[abeoprs]-[A-Za-z0-9\-]{10,}",  # Slack
        r"AIza[0-9A-Za-z_\-]{30,}",  # Google
        r"\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_\-]{16,}",
        r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?",  # JSON web tokens
        r"://[^\s/:@]+:[^\s/@]+@",  # a password in a URL
        # A key in PEM form, also one that is cut off.
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    )
)

# Phone numbers: international with +, North American, or national with a leading 0.

_PHONE = compiled("phone", r"\+\d[\d ().\-/]{5,24}|\(?\d{3}\)?[ .\-]\d{3}[ .\-]\d{4}|0\d{1,4}[ /\-]\d[\d ]{3,12}\d")


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in _PHONE.finditer(text):
        start, said = match.start(), match.group()
        groups = list(_GROUP.finditer(said))
        if (start and text[start - 1].isdigit()) or (not said.startswith("+") and text[match.end() :][:1].isdigit()):
            continue
        # A number that follows the phone number does not belong to it.
        while groups and _length(groups) > 15:
            groups.pop()
        if groups and _length(groups) >= 7:
            yield start, start + groups[-1].end()


_GROUP = compiled("digits", r"\d+")


def _length(groups: list[Any]) -> int:
    return sum(group.end() - group.start() for group in groups)


# Payment cards.

_NUMBER = compiled("card", r"\d(?:[ \-]?\d){12,}")


def luhn(digits: str) -> bool:
    """Whether the digits of a card number add up (ISO/IEC 7812-1, annex B).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    numbers = [int(one) for one in reversed(digits)]
    return (sum(numbers[0::2]) + sum(sum(divmod(2 * one, 10)) for one in numbers[1::2])) % 10 == 0


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _NUMBER.finditer(text):
        groups = list(_GROUP.finditer(match.group()))
        first = 0
        while first < len(groups):
            last = _card_from(groups, first)
            if last is None:
                first += 1
                continue
            yield match.start() + groups[first].start(), match.start() + groups[last].end()
            first = last + 1


def _card_from(groups: list[Any], first: int) -> int | None:
    """The index of the group with which a card that starts with group `first` ends."""
    digits = ""
    for index in range(first, min(first + 19, len(groups))):
        digits += groups[index].group()
        if len(digits) > 19:
            return None
        if len(digits) >= 13 and digits[0] in "23456" and luhn(digits):
            return index
    return None


# IBANs (ISO 13616; lengths by country from the SWIFT registry).

_IBAN = compiled("iban", r"[A-Za-z]{2}\d{2}")
_LENGTHS = """AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20
EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28
LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24
RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"""
_NUMBERS = {ord(letter): str(10 + place) for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
IBAN_LENGTHS = {one[:2]: int(one[2:]) for one in _LENGTHS.split()}


def mod97(iban: str) -> bool:
    """Whether an IBAN without blanks has the right check digits.

    >>> mod97("DE89370400440532013000"), mod97("DE88370400440532013000")
    (True, False)
    """
    return int((iban[4:] + iban[:4]).upper().translate(_NUMBERS)) % 97 == 1


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        start = match.start()
        length = IBAN_LENGTHS.get(match.group()[:2].upper(), 0)
        # With blanks or hyphens between any two characters it is twice as long.
        near = text[start : start + 2 * length]
        joined = near.replace(" ", "").replace("-", "")[:length]
        if length and len(joined) == length and joined.isascii() and joined.isalnum() and mod97(joined):
            yield start, start + _spread(near, length)


def _spread(text: str, length: int) -> int:
    """How far the first `length` characters that are neither blank nor hyphen reach."""
    places = [index for index, one in enumerate(text) if one not in " -"]
    return places[length - 1] + 1


# IP addresses.

_IP = compiled("ip", r"(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}")


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for match in _IP.finditer(text):
        start, end, said = match.start(), match.end(), match.group()
        inside_a_word = text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()
        # `::` and `a::b` are addresses too, and stand in a lot of source code.
        source = ":" in said and (sum(1 for part in said.split(":") if part) < 2 or said.replace(":", "").isalpha())
        if inside_a_word or source:
            continue
        try:
            ipaddress.ip_address(said)
        except ValueError:
            continue
        yield start, end


BUILT_IN = (
    plain("email", EMAIL), Kind("phone", _phones), Kind("card", _cards), Kind("iban", _ibans), Kind("ip", _ips),
    plain("secret", SECRET),
)  # fmt: skip
KINDS = {kind.name: kind for kind in BUILT_IN}
