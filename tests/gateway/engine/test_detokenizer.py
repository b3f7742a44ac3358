import pytest

from graduand.gateway.engine.detokenizer import Detokenizer
from graduand.gateway.engine.engine import Engine


@pytest.mark.parametrize(
    "text", ["plain words", "naïve façade", "日本語のテキスト", "🙂👩‍👩‍👧‍👦 done", " leading", "a\n\n  b"]
)
def test_never_gives_half_a_character(engine: Engine, text: str) -> None:
    backend = engine._backend
    tokens = backend.encode(text, add_special_tokens=False).ids
    detokenizer = Detokenizer(backend, [1, 2, 3])
    pieces = [detokenizer.push(token) for token in tokens]
    assert "".join(pieces) == text
    assert not any("�" in piece for piece in pieces)


def test_drops_a_character_that_stays_incomplete(engine: Engine) -> None:
    tokens = engine._backend.encode("ok 🙂", add_special_tokens=False).ids
    detokenizer = Detokenizer(engine._backend, [])
    assert "".join(detokenizer.push(token) for token in tokens[:-1]).rstrip() == "ok"


def test_special_tokens_have_no_text(engine: Engine) -> None:
    detokenizer = Detokenizer(engine._backend, [])
    assert [detokenizer.push(token) for token in (0, 1, 2)] == ["", "", ""]
