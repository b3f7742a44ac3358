"""The mask: the prompt as servers tokenise it, the loss on completion and turn end, nothing else; for any text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.training.data.rows import DataError, Row
from graduand.training.fit import mask

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
tricky = st.sampled_from(["<|im_end|>", "a<|im_start|>assistant\n", "th", " in", "\n", "é\u0301", "\u200b", "🙂🏽"])
any_text = texts | tricky | st.builds(str.__add__, tricky, texts)


def chat(user: str, completion: str = "yes") -> Row:
    return Row("r", completion, messages=({"role": "system", "content": "Which?"}, {"role": "user", "content": user}))


def example_of(row: Row, tokenizer: Any, max_tokens: int = 4096) -> mask.Example:
    return mask.tokenise([row], tokenizer, max_tokens).kept[0]


@given(user=any_text, completion=any_text)
@settings(deadline=None, max_examples=150)
def test_loss_sees_the_completion_and_the_turn_end(tiny_tokenizer: Any, user: str, completion: str) -> None:
    example = example_of(chat(user, completion), tiny_tokenizer)
    assert mask.trained_text(example, tiny_tokenizer) == f"{completion}<|im_end|>"
    learned = [label for label in example.labels if label != mask.IGNORED]
    assert learned == list(example.ids[example.start :])
    # A completion that looks like a turn end must not teach one before the real one.
    assert learned.count(tiny_tokenizer.eos_token_id) == 1
    assert learned[-1] == tiny_tokenizer.eos_token_id


@given(user=any_text, completion=any_text)
@settings(deadline=None, max_examples=80)
def test_prompt_is_what_a_server_makes_of_the_same_request(tiny_tokenizer: Any, user: str, completion: str) -> None:
    row = chat(user, completion)
    example = example_of(row, tiny_tokenizer)
    served = tiny_tokenizer.apply_chat_template(list(row.messages or ()), add_generation_prompt=True)["input_ids"]
    assert list(example.ids[: example.start]) == served
    assert set(example.labels[: example.start]) == {mask.IGNORED}


@given(prompt=any_text, completion=any_text)
@settings(deadline=None, max_examples=40)
def test_plain_prompts_go_without_a_template(tiny_tokenizer: Any, prompt: str, completion: str) -> None:
    example = example_of(Row("r", completion, prompt=prompt), tiny_tokenizer)
    assert list(example.ids[: example.start]) == tiny_tokenizer(prompt)["input_ids"]
    assert mask.trained_text(example, tiny_tokenizer) == f"{completion}<|im_end|>"


def test_rows_that_do_not_fit_are_counted_and_never_taught_to_stop(tiny_tokenizer: Any) -> None:
    rows = [chat("a"), Row("cut", "b" * 90, prompt="a"), Row("out", "b", prompt="a" * 90)]
    examples = mask.tokenise(rows, tiny_tokenizer, 80)
    assert (examples.cut, examples.left_out, examples.longest) == (1, ("out",), 92)
    assert [example.id for example in examples.kept] == ["r", "cut"]
    assert len(examples.kept[1].ids) == 80
    assert tiny_tokenizer.eos_token_id not in examples.kept[1].ids


@pytest.mark.parametrize(("limit", "refused"), [(0.0, True), (0.6, True), (0.7, False)])
def test_too_many_cut_rows_are_refused(tiny_tokenizer: Any, limit: float, refused: bool) -> None:
    rows = [chat("a"), Row("cut", "b" * 90, prompt="a"), Row("out", "b", prompt="a" * 90)]
    examples = mask.tokenise(rows, tiny_tokenizer, 80)
    if not refused:
        return mask.check_truncation(examples, 80, limit)
    with pytest.raises(DataError, match=r"2 of 3 rows are longer than max_tokens=80.*raise max_tokens"):
        mask.check_truncation(examples, 80, limit)
    return None


def test_a_template_that_ends_turns_with_another_token_is_refused(tiny_tokenizer: Any) -> None:
    template = tiny_tokenizer.chat_template
    try:
        tiny_tokenizer.chat_template = template.replace("<|im_end|>", "<|endoftext|>")
        with pytest.raises(DataError, match="does not end the assistant's turn with its eos token"):
            mask.turn_end(tiny_tokenizer)
    finally:
        tiny_tokenizer.chat_template = template


def test_padding_differs_from_the_turn_end(tiny_base: Any) -> None:
    from graduand.gateway.adapters import base_model

    _, tokenizer = base_model.load(str(tiny_base))
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
