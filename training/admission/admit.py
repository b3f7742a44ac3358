"""The adapter gate: all checks, the record beside the adapter and the model card.

Invariant: `admission.json` names the digest of the very files that were checked, and says `passed` for each check that
passed and for no other. A refusal is written down too, so that nobody mistakes an old admission for a new one.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graduand import __version__
from graduand.gateway.adapters import adapter, admission, base_model, beside, residency
from graduand.gateway.adapters.adapter import AdapterFiles
from graduand.gateway.adapters.servers import Server
from graduand.gateway.errors import AdapterError, ConfigError
from graduand.rollout.spec.names import check_name
from graduand.training.admission import embedded, verdict
from graduand.training.admission.card import card
from graduand.training.admission.checks import Base, Check, on_disk
from graduand.training.admission.probes import Probe, probes
from graduand.training.admission.reference import reference
from graduand.training.admission.serving import Engine, engine_at
from graduand.training.data.rows import read_rows
from graduand.training.fit import mask
from graduand.training.stages import stage
from graduand.training.stages.progress import Progress

CARD_FILE = "README.md"
REFUSED_FIRST = "none: the files were refused first"
REFERENCE = "reference"  # where `train fit` leaves what drift is measured against


@dataclass(frozen=True, slots=True)
class Request:
    """What to admit; without `engine` an embedded one is started, without `data` the run's own rows are the probes.

    `vouched_by` says who answers for an adapter of unknown training; it counts only where no run is recorded.
    """

    path: Path
    base: str | None = None
    name: str | None = None
    engine: str | None = None
    key: str | None = field(default=None, repr=False)  # the engine's
    data: Path | None = None
    rows: int = 8
    seed: int = 0
    evaluation: Path | None = None
    vouched_by: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The record as written, and whether the adapter is admitted."""

    record: dict[str, Any]

    @property
    def admitted(self) -> bool:
        """Whether every check passed."""
        return all(check["passed"] for check in self.record["checks"])


def admit(request: Request, progress: Progress) -> Admission:
    """Check the adapter in the folder and in a running engine; write the record and, if admitted, the card."""
    files = adapter.read(request.path)
    server = Server.EMBEDDED
    if request.engine is not None:
        given = engine_at(request.engine, request.key)
        given.base()  # now: an engine that is not there shows before anything is loaded
        server = residency.server_of(given.upstream)
    run = run_of(files)
    scores = _scores(request.evaluation, files)
    base_name = request.base or _recorded_base(run, files)
    base = _base(base_name, given=request.base is not None)
    checks = on_disk(files, run, base, server, request.vouched_by)
    engine, sampled = REFUSED_FIRST, list[Probe]()
    if all(check.passed for check in checks):
        engine, sampled, tried = _tried(request, files, run, base_name, progress)
        checks += tried
    record = {
        "adapter": request.name or _name(files), "digest": files.digest, "base": {"name": base.name, "revision": base.revision},
        "checks": [check.as_json() for check in checks], "probes": [probe.id for probe in sampled], "engine": engine,
        "training": _training(run, request), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "graduand": __version__,
        **({"tests": _tests(request.evaluation)} if request.evaluation else {}),
    }  # fmt: skip
    admission.write(request.path, record)
    made = Admission(record)
    if made.admitted and run is not None:
        drift = (request.path / REFERENCE).is_dir()
        (request.path / CARD_FILE).write_text(
            card(str(record["adapter"]), run, record, scores, drift), encoding="utf-8"
        )
    return made


def _tried(
    request: Request, files: AdapterFiles, run: Mapping[str, Any] | None, base_name: str, progress: Progress
) -> tuple[str, list[Probe], list[Check]]:
    """The checks that need the model: here and in an engine."""
    rows = read_rows(_data(request, run))
    progress.say(f"loading {base_name}")
    model, tokenizer = base_model.load(base_name)
    examples = mask.tokenise(rows, tokenizer, tokenizer.model_max_length).kept
    sampled = probes(examples, request.rows, request.seed)
    if not sampled:
        raise ConfigError("no row is left to probe with; give others with --data")
    beside_it = _beside(files, tokenizer)
    if not beside_it.passed:
        return REFUSED_FIRST, [], [beside_it]
    progress.say(f"{len(sampled)} probes through the trained model")
    known = reference(model, tokenizer, request.path, sampled)
    given = nullcontext(request.engine) if request.engine else embedded.engine(base_name)
    with given as url:
        served = engine_at(str(url), request.key)
        progress.say(f"the same through the engine at {served.url}")
        name = request.name or _name(files)
        contexts = [context for probe in sampled for context in probe.contexts]
        before = served.next_tokens(served.base(), contexts)
        with served.with_adapter(name, request.path):
            tuned = served.next_tokens(name, contexts)
            most, endings = _endings(served, name, sampled)
        after = served.next_tokens(served.base(), contexts)
    checks = [beside_it, *verdict.judge(verdict.distances(before, tuned, after, known))]
    if run is None:
        texts = [tokenizer.decode([probe.ids[cut]]) for probe in sampled for cut in probe.cuts]
        checks.append(verdict.of_rows(texts, known, endings))
    else:
        checks.append(verdict.judge_endings(endings, most))
    return "the engine named" if request.engine else "the embedded engine", sampled, checks


def _beside(files: AdapterFiles, tokenizer: Any) -> Check:
    found = beside.differences(files.path, tokenizer)
    return Check("beside", not found, "; ".join(found) or "no chat template or tokenizer that differs from the base's")


def _endings(served: Engine, name: str, sampled: Sequence[Probe]) -> tuple[int, list[str]]:
    """How many tokens each answer was given, and how it ended."""
    most = 2 * max(len(probe.ids) - probe.start for probe in sampled)
    return most, served.endings(name, [list(probe.ids[: probe.start]) for probe in sampled], most)


def _name(files: AdapterFiles) -> str:
    """The folder's own name if it is the immutable one, else one made of it."""
    folder = files.path.resolve().name
    return check_name(folder if folder.endswith(f"@{files.digest}") else files.name(folder.partition("@")[0]))


def _recorded_base(run: Mapping[str, Any] | None, files: AdapterFiles) -> str:
    trained = (run or {}).get("config", {}).get("base") or files.base_model
    if not trained:
        raise ConfigError(f"{files.path} does not name the base that it was trained on; name it with --base")
    return str(trained)


def _base(model: str, *, given: bool) -> Base:
    try:
        name, revision = base_model.identity(model)
        return Base(name, revision, base_model.linear_layers(model))
    except (ConfigError, OSError) as error:
        if given:
            raise
        raise ConfigError(f"the base that the adapter names is not here: {error}; name it with --base") from error


def _training(run: Mapping[str, Any] | None, request: Request) -> dict[str, Any]:
    """What is known of how it was trained, and who answers for it if nothing is."""
    if run is not None:
        return {"known": True}
    rows = stage.file_sha256(request.data) if request.data is not None and request.data.is_file() else None
    return {"known": False, "vouched_by": request.vouched_by, "rows_sha256": rows}


def run_of(files: AdapterFiles) -> dict[str, Any] | None:
    """The record of the training, if it is beside the adapter and can be read."""
    try:
        run = json.loads((files.path / admission.RUN_FILE).read_bytes())
        return dict(run)
    except (OSError, ValueError, TypeError):
        return None


def _data(request: Request, run: Mapping[str, Any] | None) -> Path:
    """The rows to probe with: those given, or those of the run if they are still what they were."""
    if request.data is not None:
        return request.data
    if run is None:
        raise ConfigError(
            "nothing says which rows it was trained on; give rows like those that it will serve with --data"
        )
    path = Path(str(run.get("config", {}).get("data", "")))
    if path.is_file() and stage.file_sha256(path) == run.get("data", {}).get("sha256"):
        return path
    raise ConfigError("the rows that it was trained on are not where they were; give rows like them with --data")


def _tests(evaluation: Path) -> dict[str, str]:
    """By name, the SHA-256 of what the evaluation was made of: the test sets, for whoever asks later what it was tried on."""
    return {name: str(entry["sha256"]) for name, entry in stage.read_record(evaluation)["inputs"].items()}


def _scores(evaluation: Path | None, files: AdapterFiles) -> list[dict[str, Any]]:
    if evaluation is None:
        return []
    figures = stage.verified(evaluation)["figures"]
    if figures.get("digest") not in (None, files.digest):
        raise AdapterError(f"{evaluation} evaluated {figures['digest']}, and this adapter is {files.digest}")
    return [row for row in figures["rows"] if "accuracy" in row]
