"""A stage of the road from logs to an adapter: inputs and parameters in, one content-addressed folder out.

`OUT/NAME-DIGEST/` holds the stage's own files, `report.md` (for people) and `stage.json` (for programs: inputs' hashes,
parameters, versions, figures, outputs' hashes). `OUT/NAME` is a link to the latest, so that the next command can name it.

Invariant: the folder appears complete or not at all. The digest stands for the inputs' bytes, the parameters, the
stage's own code and the packages that it names, so the same work is never done twice and a changed input never reuses an
old result. A killed stage finds its unfinished files in the same place again. Must never overwrite a finished folder.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from graduand import __version__
from graduand.gateway.errors import ConfigError, GraduandError
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress

RECORD = "stage.json"
REPORT = "report.md"
DIGITS = 12


class StageError(GraduandError, RuntimeError):
    """A stage's folder cannot be made, is in use, or is no longer what its record says."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a stage's outcome is a function of. Parameters are JSON values and include the seed, if there is one.

    `code` are the modules whose change makes old outcomes stale (a package: all modules in it); `packages` the
    distributions whose version does.
    """

    name: str
    inputs: Mapping[str, Path]
    parameters: Mapping[str, Any]
    code: tuple[ModuleType, ...]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage's work hands back: figures (JSON values, for `--json` and later stages) and the report's body."""

    figures: dict[str, Any]
    report: str


@dataclass(frozen=True, slots=True)
class Made:
    """A finished stage; `fresh` is false if an earlier run had made it."""

    path: Path
    record: dict[str, Any]
    fresh: bool

    @property
    def figures(self) -> dict[str, Any]:
        """What the stage's work handed back."""
        figures: dict[str, Any] = self.record["figures"]
        return figures

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"path": str(self.path), "fresh": self.fresh, **self.figures}


# The work of a stage: it writes its files into the folder, or goes on with those that a killed run left there.
Work = Callable[[Path, Progress], Outcome]


def run(plan: Plan, out: Path, work: Work, progress: Progress) -> Made:
    """Do the work of `plan`, or find what an earlier run of the same plan made, under the folder `out`."""
    hashes = {name: path_sha256(path) for name, path in plan.inputs.items()}
    code = code_sha256(plan.code)  # now: somebody may edit it while the stage runs
    digest = plan_digest(plan, hashes, code)
    target = out / f"{plan.name}-{digest}"
    _check_link(out / plan.name)
    with _locked(out, target.name):
        if target.exists():
            made = Made(target, verified(target), fresh=False)
            progress.say(f"{target} was already made from the same inputs and parameters")
        else:
            made = _make(plan, hashes, code, target, work, progress)
        _link(out / plan.name, target)
    return made


def _make(plan: Plan, hashes: Mapping[str, str], code: str, target: Path, work: Work, progress: Progress) -> Made:
    folder = target.with_name(f".{target.name}.work")
    began_s = time.monotonic()
    try:
        folder.mkdir(exist_ok=True)
        outcome = work(folder, progress)
        record = _record(plan, hashes, code, target.name, outcome)
        record["seconds"] = round(time.monotonic() - began_s, 2)
        (folder / REPORT).write_text(f"{outcome.report.rstrip()}\n\n{_provenance(record)}", encoding="utf-8")
        record["outputs"] = _outputs(folder)
        _write_flushed(folder / RECORD, json.dumps(record, indent=2) + "\n")
        folder.rename(target)
    except OSError as error:
        if isinstance(error, GraduandError):
            raise
        raise StageError(f"cannot make {target}: {error}; give another --out, or free space") from error
    return Made(target, record, fresh=True)


def _record(plan: Plan, hashes: Mapping[str, str], code: str, name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "stage": plan.name,
        "name": name,
        "inputs": {
            key: {"path": path.name, "sha256": hashes[key], "made_by": made_by(path)}
            for key, path in plan.inputs.items()
        },
        "parameters": dict(plan.parameters),
        "versions": versions(plan.packages),
        "code_sha256": code,
        "figures": outcome.figures,
    }


def plan_digest(plan: Plan, hashes: Mapping[str, str], code: str) -> str:
    """What the plan is a function of, as 12 hex digits; `hashes` are those of its inputs' bytes, `code` its modules'."""
    packages = {name: _version(name) for name in plan.packages}
    whole = [plan.name, dict(hashes), dict(plan.parameters), code, packages]
    try:
        text = json.dumps(whole, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"stage {plan.name}: parameters must be JSON values ({error})") from error
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Graduand's, Python's and the packages' versions."""
    named = {name: _version(name) for name in packages}
    return {"graduand": __version__, "python": platform.python_version(), **named}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(f"this needs the package {package}: pip install 'graduand[training]'") from None


def code_sha256(modules: tuple[ModuleType, ...]) -> str:
    """SHA-256 over the names and files of modules, and of all modules in packages."""
    total = hashlib.sha256()
    for name, file in sorted(named for module in modules for named in _sources(module)):
        total.update(f"{name}\0{file_sha256(file)}\0".encode())
    return total.hexdigest()


def _sources(module: ModuleType) -> Iterator[tuple[str, Path]]:
    if not hasattr(module, "__path__"):
        yield module.__name__, Path(module.__file__ or os.devnull)
        return
    for folder in module.__path__:
        for file in Path(folder).glob("*.py"):
            if file.stem != "__init__":  # has no code
                yield f"{module.__name__}.{file.stem}", file


def path_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, or of all names and files in a folder; hidden files and stages' clocks left out."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist; give a file or a folder that an earlier stage made")
    if path.is_file():
        return file_sha256(path)
    total = hashlib.sha256()
    for file in sorted(_files(path)):
        if file.name != RECORD:  # it says how many seconds the stage took
            total.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\0".encode())
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _outputs(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in sorted(_files(folder))}


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the finished stage in `folder`."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        return dict(record)
    except (OSError, ValueError, TypeError) as error:
        raise StageError(f"{folder} holds no finished stage ({error}); give a folder that a stage made") from error


def verified(folder: Path) -> dict[str, Any]:
    """The record of the stage in `folder`, whose files are checked against the hashes in it."""
    record = read_record(folder)
    written, found = record["outputs"], _outputs(folder)
    found.pop(RECORD, None)
    changed = sorted(name for name in {*written, *found} if written.get(name) != found.get(name))
    if changed:
        raise StageError(
            f"{folder} is not what its stage wrote: {', '.join(changed[:3])} changed since; move the folder away "
            "and run the stage again"
        )
    return record


def made_by(path: Path) -> str | None:
    """The name of the finished stage that `path` is, or lies in; None if it was made elsewhere."""
    real = path.resolve()
    for folder in (real, *real.parents[:2]):
        if (folder / RECORD).is_file():
            return str(read_record(folder).get("name"))
    return None


def _provenance(record: Mapping[str, Any]) -> str:
    inputs = [
        (name, entry["made_by"] or entry["path"], markdown.code(entry["sha256"][:DIGITS]))
        for name, entry in record["inputs"].items()
    ]
    parameters = [(name, markdown.code(json.dumps(value))) for name, value in record["parameters"].items()]
    parts = [
        "## How it was made",
        markdown.table(("input", "from", "SHA-256"), inputs) if inputs else "",
        markdown.table(("parameter", "value"), parameters) if parameters else "",
        markdown.as_list(f"{name} {version}" for name, version in record["versions"].items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _write_flushed(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _check_link(link: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise ConfigError(f"{link} is in the way of the link to the latest stage; move it, or give another --out")


def _link(link: Path, target: Path) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}.link")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    partial.symlink_to(target.name)
    partial.replace(link)


@contextlib.contextmanager
def _locked(out: Path, name: str) -> Iterator[None]:
    """One process at a time makes a folder; the lock ends with the process, however it ends."""
    path = out / f".{name}.lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise StageError(f"cannot write under {out}: {error}; give another --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise StageError(f"another process is making {out / name}; wait for it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
