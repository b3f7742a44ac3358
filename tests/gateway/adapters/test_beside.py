"""A chat template or a tokenizer beside the weights: harmless if it says what the base's says, told if it does not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.adapters.beside import SETTINGS_FILE, TEMPLATE_FILE, TOKENIZER_FILE, differences
from graduand.gateway.errors import AdapterError


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def test_the_bases_own_files_are_harmless(tiny_base: Path, tokenizer: Any, tmp_path: Path) -> None:
    assert differences(tmp_path, tokenizer) == []
    for file in tiny_base.glob("*token*"):
        shutil.copy(file, tmp_path)
    (tmp_path / TEMPLATE_FILE).write_text(tokenizer.chat_template + "\n")
    settings = {"chat_template": [{"name": "default", "template": tokenizer.chat_template}]}
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(settings))
    assert differences(tmp_path, tokenizer) == []


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (TEMPLATE_FILE, "{{ messages }}", "chat_template.jinja has a chat template that differs"),
        (SETTINGS_FILE, '{"chat_template": "{{ messages }}"}', "tokenizer_config.json has a chat template"),
        (SETTINGS_FILE, '{"chat_template": {"default": "x"}}', "tokenizer_config.json has a chat template"),
    ],
)
def test_another_template_is_told(file: str, content: str, said: str, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    [found] = differences(tmp_path, tokenizer)
    assert said in found


def test_another_vocabulary_is_told(tiny_base: Path, tokenizer: Any, tmp_path: Path) -> None:
    found = json.loads((tiny_base / TOKENIZER_FILE).read_text())
    found["added_tokens"].append({**found["added_tokens"][0], "id": 400, "content": "<|tool|>"})
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(found))
    assert "tokenizer.json has a vocabulary that differs" in differences(tmp_path, tokenizer)[0]


@pytest.mark.parametrize(
    ("file", "content"),
    [(TOKENIZER_FILE, b"{"), (SETTINGS_FILE, b"[1]"), (TEMPLATE_FILE, b"\xff"), (SETTINGS_FILE, b"{")],
)
def test_what_cannot_be_read_is_refused(file: str, content: bytes, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(AdapterError, match=file.partition(".")[0] + r"|" + str(tmp_path)):
        differences(tmp_path, tokenizer)
