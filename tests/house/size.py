"""Files and lines of each package, at a commit and now: the table in ARCHITECTURE.md."""

import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from tests.house.imports import PACKAGES, ROOT

BEFORE = "1998ee4"  # the last commit before the packages were sorted
SHOWN = (*PACKAGES, "tests", "benchmarks", "examples")
ALL = "gateway, training, rollout, monitoring"
Source = tuple[str, str]  # path and text


def at(commit: str) -> Iterator[Source]:
    """Every Python file of a commit."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and _counts(member.name):
                yield member.name, file.read().decode()


def now() -> Iterator[Source]:
    """Every Python file of the working tree that git does not ignore."""
    for path in _git("ls-files", "-co", "--exclude-standard").decode().splitlines():
        if _counts(path) and (ROOT / path).is_file():
            yield path, (ROOT / path).read_text("utf-8")


def _counts(path: str) -> bool:
    return path.endswith(".py") and path.partition("/")[0] in SHOWN


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"git {' '.join(arguments)}: {done.stderr.decode().strip()} (a clone with all of its history has it)"
        )
    return done.stdout


def package(path: str) -> str:
    """Where a file counts: the folder in one of the four packages, or the folder at the top.

    >>> package("gateway/control/store/open.py"), package("gateway/cli.py"), package("tests/gateway/running.py")
    ('gateway/control/', 'gateway/*.py', 'tests/')
    """
    parts = PurePosixPath(path).parts
    if parts[0] not in PACKAGES:
        return f"{parts[0]}/"
    return f"{parts[0]}/{parts[1]}/" if len(parts) > 2 else f"{parts[0]}/*.py"


def counted(files: Iterable[Source]) -> tuple[Counter[str], Counter[str]]:
    """Files and lines by package, with the sum of each of the four and of all four."""
    files_of: Counter[str] = Counter()
    lines_of: Counter[str] = Counter()
    for path, text in files:
        top = path.partition("/")[0]
        for name in {package(path), f"{top}/"} | ({ALL} if top in PACKAGES else set()):
            files_of[name] += 1
            lines_of[name] += text.count("\n")
    return files_of, lines_of


def table(commit: str = BEFORE) -> str:
    """The table in Markdown; a package that was not there yet, or is not any more, has a dash."""
    counts = (*counted(at(commit)), *counted(now()))
    rows = [f"| package | files at {commit} | lines | files now | lines |", "|---|---|---|---|---|"]
    for name in sorted({name for count in counts for name in count}, key=_place):
        cells = " | ".join(f"{count[name]:,}" if name in count else "–" for count in counts)
        rows.append(
            f"| {f'**{name}**' if name == ALL or (name.count('/') == 1 and name.endswith('/')) else f'`{name}`'} | {cells} |"
        )
    return "\n".join(rows)


def _place(name: str) -> tuple[int, str]:
    top = name.partition("/")[0]
    return (SHOWN.index(top) if top in SHOWN else -1, name)
