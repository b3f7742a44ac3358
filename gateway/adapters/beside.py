"""What lies beside an adapter's weights and would change its answers: a chat template and a tokenizer of its own.

Servers use the base's for every adapter. So a file that says the same as the base's is harmless, and one that differs is
told: never passed over in silence.
"""

from pathlib import Path
from typing import Any

from graduand.gateway.adapters import adapter
from graduand.gateway.errors import AdapterError

TEMPLATE_FILE = "chat_template.jinja"
SETTINGS_FILE = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"
WAY_OUT = (
    "servers use the base's for every adapter: put it beside a copy of the base and serve that, or, if the adapter was "
    "trained without it, delete the file"
)


def differences(folder: Path, tokenizer: Any) -> list[str]:
    """How the folder's own template and vocabulary differ from the base's `tokenizer`; empty if they do not."""
    found = []
    for file, template in _templates(folder):
        if template.strip() != _text(tokenizer.chat_template).strip():
            found.append(f"{file} has a chat template that differs from the base's; {WAY_OUT}")
    if (folder / TOKENIZER_FILE).is_file() and _vocabulary(folder / TOKENIZER_FILE) != tokenizer.get_vocab():
        found.append(f"{TOKENIZER_FILE} has a vocabulary that differs from the base's; {WAY_OUT}")
    return found


def _templates(folder: Path) -> list[tuple[str, str]]:
    """The templates in the folder, each with the file that has it."""
    found = []
    try:
        if (folder / TEMPLATE_FILE).is_file():
            found.append((TEMPLATE_FILE, (folder / TEMPLATE_FILE).read_text(encoding="utf-8")))
        if (folder / SETTINGS_FILE).is_file():
            template = adapter.read_json(folder / SETTINGS_FILE).get("chat_template")
            if template is not None:
                found.append((SETTINGS_FILE, _text(template)))
    except (OSError, ValueError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"the chat template in {folder} cannot be read: {error}") from error
    return found


def _text(template: object) -> str:
    """A template, or of several by name the one that is used without a name."""
    if isinstance(template, list):
        template = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else ""


def _vocabulary(file: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    try:
        return dict(Tokenizer.from_file(str(file)).get_vocab())
    except Exception as error:  # the library raises plain Exception for whatever is wrong with the file
        raise AdapterError(f"{file} is no tokenizer: {str(error).splitlines()[0]}") from error
