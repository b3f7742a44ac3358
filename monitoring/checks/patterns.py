"""`email`, `phone`, `card`, `iban` and `secret`: personal data and credentials, by pattern.

What is found is only named, never repeated: a verdict goes into the log. A text is looked at in full, and in pieces if it
is long. Each pattern is bounded: what begins at a character is decided `reach` characters later at the latest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, trigger

# Characters before a match that its pattern may look at.
BEHIND = 2


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is looked for.

    `hints`: one of these must be there, or the pattern need not be tried (none: it always is). `ahead`: characters after a
    match on which it may still depend. `reach` counts the whole of what must not leave, and what comes after it.
    """

    found: re.Pattern[str]
    hints: tuple[str, ...]
    reach: int
    ahead: int
    valid: Callable[[str], bool] | None = None


def luhn(text: str) -> bool:
    """Whether the digits carry a card number's check digit (ISO/IEC 7812), and it begins as the big networks' do.

    >>> luhn("4242 4242 4242 4242"), luhn("4242 4242 4242 4241")
    (True, False)
    """
    digits = [int(char) for char in text if char.isdigit()]
    if not 3 <= digits[0] <= 6 and not (digits[0] == 2 and len(digits) == 16):
        return False
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


# Lengths by country (SWIFT's IBAN registry).
_IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 "
    "FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 "
    "LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 "
    "ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
IBAN_LENGTH = {entry[:2]: int(entry[2:]) for entry in _IBAN_LENGTHS.split()}


def iban(text: str) -> bool:
    """Whether an account number of its country's length stands at the start, with the right check digits (ISO 13616).

    >>> iban("DE89 3704 0044 0532 0130 00"), iban("DE88 3704 0044 0532 0130 00")
    (True, False)
    """
    compact = text.replace(" ", "")
    length = IBAN_LENGTH.get(compact[:2], 99)
    if len(compact) < length:
        return False
    turned = compact[4:length] + compact[:4]
    return int("".join([str(int(char, 36)) for char in turned])) % 97 == 1


PATTERNS = {
    # The part before the @ may have 64 characters, of which one is enough to know it.
    "email": Pattern(
        re.compile(r"[A-Za-z0-9_%+-]@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2}"), ("@",),
        64 + 1 + 4 * 41 + 2, 0,
    ),
    # International, or North American with its separators; other national forms look like any number.
    "phone": Pattern(
        re.compile(
            r"(?<![\w+])(?:\+[1-9]\d{0,2}(?:[ .()/-]{0,2}\d){7,12}|(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[ .-]\d{4})"
            r"(?![ .()/-]{0,2}\d)"
        ),
        (), 48, 3,
    ),
    "card": Pattern(
        re.compile(r"(?<![A-Za-z0-9])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)"), (), 44, 2, luhn
    ),
    "iban": Pattern(re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}"), (), 72, 0, iban),
    "secret": Pattern(
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{20}|(?:sk|rk)_live_[A-Za-z0-9]{20}|gh[opsur]_[A-Za-z0-9]{36}"
            r"|github_pat_[A-Za-z0-9_]{22}|glpat-[A-Za-z0-9_-]{20}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}"
            r"|xox[abprs]-[A-Za-z0-9-]{10}|hf_[A-Za-z0-9]{30}|npm_[A-Za-z0-9]{36}"
            r"|eyJ[A-Za-z0-9_-]{8,160}\.eyJ[A-Za-z0-9_-]{8})|-----BEGIN [A-Z ]{0,24}PRIVATE KEY-----"
        ),
        (
            "sk-", "_live_", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "AKIA", "ASIA", "AIza",
            "xox", "hf_", "npm_", "eyJ", "-----BEGIN",
        ),
        180, 0,
    ),
}  # fmt: skip


class PatternCheck:
    """Triggers on the first match of its pattern in the text, or in the arguments of a tool's call.

    >>> PatternCheck("card").judge(Choice("Your card 4242 4242 4242 4242 was charged.")).label
    'card'
    """

    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name
        self.pattern = PATTERNS[name]
        self.found = trigger(name)

    def judge(self, choice: Choice) -> Finding:
        """Looks at everything that a client would see."""
        pattern = self.pattern
        if matches(pattern, choice.text, 0, final=True):
            return self.found
        for arguments in choice.arguments:
            if matches(pattern, arguments, 0, final=True):
                return self.found
        return PASS

    def watch(self) -> "Growing":
        """Certain as soon as nothing after the match can undo it."""
        return Growing(self)


def matches(pattern: Pattern, text: str, start: int, *, final: bool) -> bool:
    """Whether a match begins at `start` or later. Unless the text is final, only one that stands whatever follows."""
    if pattern.hints and not _hinted(pattern.hints, text):
        return False
    length, at = len(text), start
    while True:
        match = pattern.found.search(text, at)
        if match is None:
            return False
        certain = final or match.end() + pattern.ahead <= length
        if certain and (pattern.valid is None or pattern.valid(match.group())):
            return True
        at = match.start() + 1


def _hinted(hints: tuple[str, ...], text: str) -> bool:
    for hint in hints:  # noqa: SIM110 - any() costs a generator, more than the search
        if hint in text:
            return True
    return False


class Growing:
    """Keeps the end of the text in which something may have begun."""

    def __init__(self, check: PatternCheck) -> None:
        self._check = check
        self.reach = check.pattern.reach
        self._text = ""
        self._start = 0  # where the first match may still begin in it

    def feed(self, text: str) -> Finding | None:
        """The next piece."""
        whole = self._text + text
        if matches(self._check.pattern, whole, self._start, final=False):
            return self._check.found
        self._start = max(self._start, len(whole) - self.reach)
        kept = max(0, self._start - BEHIND)
        self._text, self._start = whole[kept:], self._start - kept
        return None

    def end(self) -> Finding:
        """The text is whole: what is found in all of it."""
        return self._check.found if matches(self._check.pattern, self._text, self._start, final=True) else PASS
