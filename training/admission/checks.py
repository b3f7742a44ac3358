"""What can be checked of an adapter without running it: format, coverage, base and the record of its training. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graduand.gateway.adapters import fitting, servers
from graduand.gateway.adapters.adapter import AdapterFiles
from graduand.gateway.adapters.fitting import Layout
from graduand.gateway.adapters.servers import Server
from graduand.gateway.errors import AdapterError

# So few rows without an end do no harm; the check `stops` tries whether the student ends its answers.
CUT_LIMIT = 0.01
UNKNOWN = (
    "run.json is missing: nothing says what it was trained on. If it was trained elsewhere, vouch for it with --vouched-by "
    "YOU and give rows like those that it will serve with --data"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, what came out, and the figures behind it."""

    name: str
    passed: bool
    detail: str
    figures: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the admission record."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail, "figures": self.figures}


@dataclass(frozen=True, slots=True)
class Base:
    """The base that the adapter is to be served on: its name, what fixes its weights, and its linear layers."""

    name: str
    revision: str
    layout: Layout


def on_disk(
    files: AdapterFiles, run: Mapping[str, Any] | None, base: Base, server: Server, vouched_by: str | None = None
) -> list[Check]:
    """All checks that need the files only; `run` is the training's record. Without one somebody may vouch for it."""
    whole = [_format(files, server), _coverage(files, base)]
    if run is None and vouched_by is not None:
        named = files.base_model or "none"
        said = f"unknown; {vouched_by} vouches for it, tried on {base.name} at {base.revision} (its configuration names {named})"
        return [*whole, Check("training", True, said)]
    return [*whole, _base(files, base), _record(files, run), _completions(run)]


def _format(files: AdapterFiles, server: Server) -> Check:
    problems = servers.problems(files, server)
    return Check("format", not problems, "; ".join(problems) or f"{server} reads it as PEFT does")


def _coverage(files: AdapterFiles, base: Base) -> Check:
    try:
        pairs = fitting.pairs(files, base.layout)
    except AdapterError as error:
        return Check("coverage", False, str(error))
    kinds = sorted({module.rpartition(".")[2] for module in pairs})
    return Check("coverage", True, f"{len(pairs)} modules, all that it targets: {', '.join(kinds)}")


def _base(files: AdapterFiles, base: Base) -> Check:
    name, revision = files.config.get("base_model_name_or_path"), files.config.get("revision")
    if revision is None:
        return Check("base", False, "adapter_config.json does not say which revision of the base it was trained on")
    if revision != base.revision:
        text = f"it was trained on {name} at {revision}, and this is {base.name} at {base.revision}"
        return Check("base", False, text)
    return Check("base", True, f"{base.name} at {base.revision}")


def _record(files: AdapterFiles, run: Mapping[str, Any] | None) -> Check:
    if run is None:
        return Check("record", False, UNKNOWN)
    if run.get("digest") != files.digest:
        text = f"run.json describes the weights {run.get('digest')}, and these are {files.digest}: another adapter's"
        return Check("record", False, text)
    return Check("record", True, f"weights and configuration are {files.digest}, as the run wrote them")


def _completions(run: Mapping[str, Any] | None) -> Check:
    data = (run or {}).get("data", {})
    cut, rows = data.get("cut"), data.get("rows")
    if cut is None or not rows:
        return Check("completions", False, "the run's record does not say whether completions were cut off")
    if not cut:
        return Check("completions", True, f"all {rows} completions were learned to their end")
    if cut > CUT_LIMIT * rows:
        text = f"{cut} of {rows} completions were cut at max_tokens: it never learned to end them"
        return Check("completions", False, text)
    return Check("completions", True, f"{cut} of {rows} completions were cut at max_tokens, the others have their end")
