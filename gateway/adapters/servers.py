"""What each kind of server makes of an adapter that PEFT can load: its own limits, and what it would misread in silence.

The base and completeness are `fitting`'s; a rank that is too large for one vLLM's --max-lora-rank is that server's to
say when it loads the adapter. Sources: vLLM 0.32's `lora/peft_helper.py` and `lora/lora_model.py` (the configuration's r
and lora_alpha count for all modules, tensors are found by their names); LoRAX's `adapters/lora.py` and SGMV kernels.
"""

from enum import StrEnum

from graduand.gateway.adapters import fitting, lora_config
from graduand.gateway.adapters.adapter import RANKS, AdapterFiles
from graduand.gateway.adapters.targets import targeted
from graduand.gateway.errors import AdapterError

FOLD = "fold it into the matrices with `graduand adapters convert`"


class Server(StrEnum):
    """A kind of server that holds adapters."""

    EMBEDDED = "the embedded engine"
    VLLM = "vLLM"
    LORAX = "LoRAX"


def problems(files: AdapterFiles, server: Server) -> list[str]:
    """Why this kind of server would refuse or silently misread the adapter; empty if it takes it."""
    found = lora_config.problems(files.config)
    if found:
        return found
    try:
        if outside := sorted(targeted(files.config, ())):
            return [f"it targets {', '.join(outside)}; {fitting.LINEAR_ONLY}"]
        modules = fitting.named(files.shapes)
        if server is not Server.EMBEDDED:
            found += _uneven(files, modules, server)
    except AdapterError as error:
        return [str(error)]
    if server is Server.LORAX:
        found += _lorax(files)
    return found


def _uneven(files: AdapterFiles, modules: dict[str, dict[str, str]], server: Server) -> list[str]:
    """Patterns that give a module another rank or scale than the rest: they count for what they do, not for being there."""
    config = files.config
    common = lora_config.rank(config), lora_config.scaling(config)
    other = [
        module
        for module in sorted(modules)
        if (lora_config.rank(config, module), lora_config.scaling(config, module)) != common
    ]
    if not other:
        return []
    keys = " and ".join(key for key in ("rank_pattern", "alpha_pattern") if config.get(key))
    text = f"{keys} gives {other[0]} another rank or scale ({len(other)} modules in all), which {server} does not read"
    return [f"{text}: {FOLD}"]


def _lorax(files: AdapterFiles) -> list[str]:
    found = []
    if lora_config.rank(files.config) not in RANKS:
        found.append(f"LoRAX has no kernel for rank {lora_config.rank(files.config)}, only for {RANKS}")
    if not isinstance(files.config.get("target_modules"), list):
        found.append("LoRAX reads target_modules only as a list; `graduand adapters convert` writes one")
    return found
