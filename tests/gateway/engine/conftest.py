"""The real SmolLM2 with real LoRA adapters, once a session, and a server on a free port."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from graduand.gateway.adapters import base_model
from graduand.gateway.address import bind
from graduand.gateway.engine.engine import Engine
from graduand.gateway.engine.server import Server

MODEL = "smollm2-135m"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Reference:
    """What transformers and PEFT say themselves."""

    network: Any
    tokenizer: Any
    known: dict[Any, list[int]] = field(default_factory=dict)

    def answer(self, prompt: list[int], adapter: str | None, tokens: int) -> list[int]:
        """The greedy continuation, computed once."""
        key = (*prompt, adapter, tokens)
        if key not in self.known:
            self.known[key] = self._answer(prompt, adapter, tokens)
        return self.known[key]

    def _answer(self, prompt: list[int], adapter: str | None, tokens: int) -> list[int]:
        ids = torch.tensor([prompt])
        options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": tokens, "do_sample": False}
        if adapter is None:
            with self.network.disable_adapter():
                output = self.network.generate(input_ids=ids, **options)
        else:
            self.network.set_adapter(adapter)
            output = self.network.generate(input_ids=ids, **options)
        return output[0, len(prompt) :].tolist()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two cores that are busy with other work make two threads far slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters of the base, as PEFT saves them: one of all linear layers, one of two modules only."""
    from peft import LoraConfig, get_peft_model

    targets = {"red@0123456789ab": (8, 0.05, LINEARS), "blue": (16, 0.3, ["q_proj", "v_proj"])}
    folders = {}
    for seed, (name, (rank, spread, modules)) in enumerate(targets.items()):
        network, _ = base_model.load(MODEL)
        torch.manual_seed(seed)
        tuned = get_peft_model(network, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=modules))
        for key, matrix in tuned.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(matrix, std=spread)
        folders[name] = tmp_path_factory.mktemp("adapter") / "files"
        tuned.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def reference(adapters: dict[str, Path]) -> Reference:
    from peft import PeftModel

    network, tokenizer = base_model.load(MODEL)
    first, *others = adapters.items()
    # PEFT forbids dots in adapter names only; '@' is fine there.
    tuned = PeftModel.from_pretrained(network, first[1], adapter_name=first[0])
    for name, folder in others:
        tuned.load_adapter(folder, name)
    return Reference(tuned.eval(), tokenizer)


@pytest.fixture(scope="session")
def engine(adapters: dict[str, Path]) -> Engine:
    engine = Engine(MODEL, max_sequences=8, context=600)
    for name, folder in adapters.items():
        engine.load_adapter(name, str(folder))
    return engine


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    """A running server's address, without the path."""
    listener = bind("127.0.0.1", 0, "the test")
    server = Server(engine, "both")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        _until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Wait for something that another thread brings about."""
    return _until


def _until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
