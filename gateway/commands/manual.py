"""The page docs/commands.md, made from the command line's parsers: `python -m graduand.gateway.commands.manual` writes it.

The parsers are read, not their `--help`, whose layout differs between versions of Python. A test compares the committed
page.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graduand.gateway.cli import parser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
# An option that means the same in so many commands is explained once.
COMMON = 10
HEAD = """\
# Commands

Made from the parsers by `python -m graduand.gateway.commands.manual`; do not edit.

`graduand COMMAND --help` says the same in a terminal. Exit codes: 0 success, 1 failure, 2 bad usage or configuration. Commands
that look at or change a running gateway talk to its admin plane: `--admin URL`, else `--config FILE`, else
`GRADUAND_ADMIN`, else `http://127.0.0.1:8081`.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command that does something: its words after `graduand`, what it does, its arguments."""

    words: str
    about: str
    arguments: tuple[argparse.Action, ...]


def page() -> str:
    """The whole page."""
    commands = list(_commands(parser(), ""))
    times = Counter(_meaning(one) for command in commands for one in command.arguments)
    common = {meaning for meaning, count in times.items() if count >= COMMON}
    shared = "".join(f"| {name} | {text} |\n" for name, text in times if (name, text) in common)
    head = f"{HEAD}\n## Options of many commands\n\n| option | meaning |\n|---|---|\n{shared}"
    return head + "".join(_shown(command, common) for command in commands)


def _commands(at: argparse.ArgumentParser, words: str) -> Iterator[Command]:
    for action in at._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, inner in action.choices.items():
                further = f"{words} {name}".strip()
                if any(isinstance(one, argparse._SubParsersAction) for one in inner._actions):
                    yield from _commands(inner, further)
                else:
                    arguments = tuple(one for one in inner._actions if not isinstance(one, argparse._HelpAction))
                    yield Command(further, inner.description or helps.get(name) or "", arguments)


def _shown(command: Command, common: set[tuple[str, str]]) -> str:
    own = [one for one in command.arguments if _meaning(one) not in common]
    also = [_name(one) for one in command.arguments if _meaning(one) in common]
    about = command.about[:1].upper() + command.about[1:]
    text = f"\n## graduand {command.words}\n\n{about.rstrip('.')}.\n"
    if own:
        rows = "".join(f"| {_name(one)} | {_necessity(one)} | {_help(one)} |\n" for one in own)
        text += f"\n| argument | | meaning |\n|---|---|---|\n{rows}"
    return text + (f"\nAlso {', '.join(also)}.\n" if also else "")


def _meaning(action: argparse.Action) -> tuple[str, str]:
    return _name(action), _help(action)


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_value(action)}`"
    return f"`{action.option_strings[-1]}{'' if action.nargs == 0 else ' ' + _value(action)}`"


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(str(one) for one in action.choices) + "}"
    return action.dest.upper().replace("_", "-")


def _necessity(action: argparse.Action) -> str:
    return "**required**" if action.required else ""


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    shown = text % {"default": action.default} if "%(default)" in text else text
    return " ".join(shown.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
