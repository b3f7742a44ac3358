"""The packaged base: its own tokenizer and template, and an adapter that changes what it says."""

import json
import sys
from pathlib import Path

import pytest

from examples.demo.tickets import QUEUE, corpus
from graduand.gateway.adapters import adapter, base_model, servers
from graduand.training.data.rows import Row
from graduand.training.fit import mask
from graduand.training.fit.fit import fit
from graduand.training.fit.run_config import FitConfig
from graduand.training.stages.progress import Lines


@pytest.mark.parametrize("upper_layers", [0, 15])
def test_the_packaged_base_learns_a_label_and_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], upper_layers: int
) -> None:
    data = tmp_path / "rows.jsonl"
    rows = [{"messages": QUEUE.messages(ticket), "completion": "returns"} for ticket in corpus(1, 4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"data": data, "out": tmp_path, "name": "returns", "epochs": 6, "rate": 3e-3, "threads": 1}
    config = FitConfig.model_validate({**settings, "upper_layers": upper_layers})
    fitted = fit(config, Lines(sys.stderr))
    assert servers.problems(adapter.read(fitted.path), servers.Server.LORAX) == []
    assert fitted.run["losses"][0] > 5
    assert fitted.run["losses"][-1] < 1
    assert fitted.run["base"]["name"] == "smollm2-135m-instruct"
    assert len(adapter.read(fitted.path).shapes) == 2 * 7 * 30
    shown = capsys.readouterr().err
    assert "'returns<|im_end|>'" in shown
    assert "step 6/6" in shown


def test_the_packaged_base_s_template_is_applied_as_at_inference() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_model.resolve("smollm2-135m"))
    messages = tuple(QUEUE.messages(corpus(1, 1)[0]))
    example = mask.tokenise([Row("r", "billing", messages=messages)], tokenizer, 128).kept[0]
    served = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)["input_ids"]
    assert list(example.ids[: example.start]) == served
    assert mask.decode(served, tokenizer).endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert mask.trained_text(example, tokenizer) == "billing<|im_end|>"
    lengths = [
        len(tokenizer.apply_chat_template(QUEUE.messages(ticket), add_generation_prompt=True)["input_ids"])
        for ticket in corpus(2, 300)
    ]
    assert sum(lengths) / 300 < 65  # prompts cost time on a CPU
    assert max(lengths) < 90
