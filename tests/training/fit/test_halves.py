"""The upper layers alone: the same as the whole model, faster, and servers still see an adapter of all layers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from graduand.gateway.adapters import adapter, base_model, fitting, servers
from graduand.gateway.errors import ConfigError
from graduand.training.fit import lora
from graduand.training.fit.fit import fit
from graduand.training.fit.halves import Halves
from graduand.training.fit.mask import Example
from graduand.training.fit.steps import Batch, batch_loss, collate
from tests.training.fit.test_fit import Watch, config

EXAMPLES = [Example("a", (5, 9, 11, 30, 2), 3), Example("b", (*range(20, 33), 40, 41, 2), 13)]


@pytest.fixture
def tuned(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> Any:
    model, _ = base_model.load(str(tiny_base))
    return lora.attach(model, config(tiny_base, tiny_rows, tmp_path))


@pytest.mark.parametrize("limit_bytes", [0, 700, 1 << 20])
def test_loss_and_gradients_are_those_of_the_whole_model(tuned: Any, limit_bytes: int) -> None:
    """Whatever is kept of the lower half: nothing, one of the two rows, or both."""
    halves = Halves(tuned, 1, limit_bytes)
    batch = collate(EXAMPLES, 0, "cpu")
    whole = batch_loss(tuned, batch)
    whole.backward()
    wanted = {name: each.grad.clone() for name, each in tuned.named_parameters() if each.grad is not None}
    tuned.zero_grad()
    for _ in range(2):  # the second time the lower half comes from memory
        tuned.zero_grad()
        inputs = halves.inputs(EXAMPLES, batch.inputs)
        upper = batch_loss(halves.model, Batch(inputs, batch.labels, batch.weights, batch.tokens))
        upper.backward()
    assert float(upper.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    found = {name: each.grad for name, each in tuned.named_parameters() if each.grad is not None}
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)
    assert all(".layers.1." in name for name in found)


def test_rows_are_told_apart_by_their_tokens(tuned: Any) -> None:
    """A validation row may have the id of another row."""
    halves = Halves(tuned, 1)
    losses = []
    for ids in ((5, 9, 11, 30, 2), (7, 8, 9, 10, 2)):
        examples = [Example("same", ids, 3)]
        batch = collate(examples, 0, "cpu")
        with torch.no_grad():
            inputs = halves.inputs(examples, batch.inputs)
            losses.append(float(batch_loss(halves.model, Batch(inputs, batch.labels, batch.weights, batch.tokens))))
    assert losses[0] != losses[1]


def test_a_fit_of_the_upper_layer_learns_and_leaves_the_lower_at_zero(
    tiny_base: Path, tiny_rows: Path, tmp_path: Path
) -> None:
    fitted = fit(config(tiny_base, tiny_rows, tmp_path, upper_layers=1, epochs=12), Watch())
    assert fitted.run["losses"][-1] < fitted.run["losses"][0] / 2
    files = adapter.read(fitted.path)
    assert servers.problems(files, servers.Server.LORAX) == []
    assert len(fitting.pairs(files, base_model.linear_layers(str(tiny_base)))) == 14
    from safetensors.torch import load_file

    weights = load_file(fitted.path / adapter.WEIGHTS_FILE)
    assert {name for name, each in weights.items() if "lora_B" in name and not each.any()} == {
        name for name in weights if "lora_B" in name and ".layers.0." in name
    }


@pytest.mark.parametrize("upper", [2, 7])
def test_as_many_layers_as_there_are_is_refused(tuned: Any, upper: int) -> None:
    with pytest.raises(ConfigError, match="upper_layers must be 1 to 1"):
        Halves(tuned, upper)


def test_a_base_that_cannot_be_cut_is_refused(tuned: Any) -> None:
    """Gemma-like models scale what they embed: the halves would scale it twice."""
    decoder = tuned.get_base_model().model
    plain = type(decoder).forward

    def scaled(self: Any, input_ids: Any = None, inputs_embeds: Any = None, **rest: Any) -> Any:
        embedded = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        return plain(self, inputs_embeds=3 * embedded, **rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(decoder), "forward", scaled)
        with pytest.raises(ConfigError, match="cannot be cut in two"):
            Halves(tuned, 1)
