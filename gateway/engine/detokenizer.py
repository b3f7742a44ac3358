"""Tokens to text, one token at a time.

Invariant: never half a character. Bytes that do not yet form a character wait for the next token; a character that
stays incomplete at the end of the text is dropped.
"""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class Detokenizer:
    """The text of one choice. Special tokens have no text."""

    def __init__(self, backend: Any, prompt: Sequence[int]) -> None:
        self._backend = backend
        # Some tokenizers drop a leading space of the very first token: the stream has to know that text precedes.
        self._stream = DecodeStream(ids=list(prompt[-8:]), skip_special_tokens=True)

    def push(self, token: int) -> str:
        """The text that `token` completes; empty while a character is incomplete."""
        try:
            return self._stream.step(self._backend, token) or ""
        except Exception as error:
            # tokenizers raises a bare Exception when bytes that are no UTF-8 change what came before them.
            if "Invalid prefix" not in str(error):
                raise
            self._stream = DecodeStream(skip_special_tokens=True)
            return self._stream.step(self._backend, token) or ""
