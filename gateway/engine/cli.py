"""`graduand engine`: serve a base model and its adapters from this machine's processor."""

import argparse
import os
from typing import Any

from graduand.gateway import address
from graduand.gateway.errors import ConfigError

DIALECTS = ("openai", "lorax", "both")


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "engine",
        help="serve a base model and LoRA adapters on this machine",
        description="Serve a base model and LoRA adapters on this machine, as vLLM or LoRAX would, or both.",
    )
    parser.add_argument(
        "--model", required=True, help="a folder, a hub id (org/name), or smollm2-135m, which needs no download"
    )
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=DIR", help="an adapter to load; repeatable"
    )
    parser.add_argument("--listen", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--dialect", choices=DIALECTS, default="openai", help="default: %(default)s")
    parser.add_argument("--served-model-name", metavar="NAME", help="the base's name in requests; default: --model")
    parser.add_argument("--max-model-len", type=int, metavar="TOKENS", help="longest context; default: the model's")
    parser.add_argument(
        "--max-num-seqs", type=int, default=16, metavar="N", help="answers generated at a time; default: %(default)s"
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="threads of the model; more than the cores that are really free is far slower; default: half the cores",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    host, port = address.parse(arguments.listen, "--listen")
    adapters = [_adapter(given) for given in arguments.adapter]
    for name in ("max_model_len", "max_num_seqs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    try:
        import torch

        from graduand.gateway.engine.engine import Engine
        from graduand.gateway.engine.server import Server
    except ImportError as error:
        raise ConfigError(f"the engine needs more packages ({error}): pip install 'graduand[engine]'") from error
    with address.bind(host, port, "--listen") as listener:
        torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // 2))
        engine = Engine(
            arguments.model,
            name=arguments.served_model_name,
            max_sequences=arguments.max_num_seqs,
            context=arguments.max_model_len,
        )
        for name, path in adapters:
            engine.load_adapter(name, path)
        server = Server(engine, arguments.dialect)
        server.run(sockets=[listener])
    return 0 if server.started else 1


def _adapter(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise ConfigError(
            f"--adapter {text!r} is not NAME=DIR; write for example support-triage@3f9c1a0b22de=./adapter"
        )
    if not os.path.isdir(os.path.expanduser(path)):
        raise ConfigError(f"--adapter {name}: there is no folder {path}")
    return name, path
