"""`json`: the answer is JSON, bare or in one code fence, and keeps to a schema if one is given.

The schema is compiled once, and nothing is ever fetched for it (rollout.answers.schemas).
"""

import orjson

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger
from graduand.rollout.answers.answers import FENCE
from graduand.rollout.answers.schemas import Schema

# Longer answers are not read: it would hold up every other answer.
LONGEST = 1 << 18
NOT_JSON, TOO_LONG, SCHEMA, ARGUMENTS = (
    trigger("not_json"), trigger("too_long"), trigger("schema"), trigger("arguments")
)  # fmt: skip


class JsonText:
    """Triggers on text that does not parse or breaks the schema, and on a call of a tool whose arguments do not parse.

    >>> check = JsonText(Schema({"type": "object", "required": ["total"]}))
    >>> [check.judge(Choice(text)).label for text in ('{"total": 1}', "{}", "Sure!")]
    ['pass', 'schema', 'not_json']
    """

    name = "json"
    version = "1"

    def __init__(self, schema: Schema | None = None) -> None:
        self._schema = schema

    def judge(self, choice: Choice) -> Finding:
        """Where a tool is called and nothing is said, there is no text to parse."""
        for arguments in choice.arguments:
            if len(arguments) > LONGEST:
                return TOO_LONG
            if arguments and not _parses(arguments):
                return ARGUMENTS
        text = choice.text
        if choice.arguments and not text:
            return PASS
        if len(text) > LONGEST:
            return TOO_LONG
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            fenced = FENCE.fullmatch(text.strip())
            if fenced is None:
                return NOT_JSON
            try:
                value = orjson.loads(fenced.group(1))
            except orjson.JSONDecodeError:
                return NOT_JSON
        return PASS if self._schema is None or not self._schema.misfit(value) else SCHEMA

    def watch(self) -> Watch | None:
        """Only the end tells."""
        return None


def _parses(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
