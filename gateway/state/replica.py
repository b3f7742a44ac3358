"""What one replica keeps on its own disk beside a store that it shares: its name, and a copy of the last route table.

The copy serves when the store is away at a start, and tells a store that was emptied or exchanged from the one that was
known. It lies beside the log's segments, which are this replica's own as well.
"""

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from graduand.gateway.errors import GraduandError
from graduand.gateway.state.store import Override


class ReplicaError(GraduandError, OSError):
    """The replica's folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What was last read: of which store, at which version."""

    store: str
    version: int
    overrides: dict[str, Override]


class ReplicaFolder:
    """The folder, made when it is first needed. `name` stays the same for as long as the folder does."""

    def __init__(self, folder: Path) -> None:
        self._copy = folder / "state-copy.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.name = _name(folder)
        except OSError as error:
            raise ReplicaError(f"cannot use the folder {folder}: {error}; check its permissions") from error

    def copy(self) -> Copy | None:
        """The copy that was kept; one that cannot be read is none."""
        try:
            data = json.loads(self._copy.read_text("utf-8"))
            overrides = {name: Override(**one) for name, one in data["overrides"].items()}
            return Copy(str(data["store"]), int(data["version"]), overrides)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def keep(self, copy: Copy) -> None:
        """Keep this one from now on; a reader sees the old or the new, whole. A full disk keeps the old."""
        text = json.dumps({**asdict(copy), "overrides": {name: asdict(one) for name, one in copy.overrides.items()}})
        new = self._copy.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:6]}")
        try:
            new.write_text(text, "utf-8")
            new.replace(self._copy)
        except OSError:
            new.unlink(missing_ok=True)


def _name(folder: Path) -> str:
    path = folder / "replica"
    if not path.exists():
        # Several processes of one gateway may come here at once: a link is made once, and whole.
        own = folder / f".replica-{uuid.uuid4().hex}"
        own.write_text(uuid.uuid4().hex[:12], "ascii")
        try:
            os.link(own, path)
        except FileExistsError:
            pass
        finally:
            own.unlink()
    return path.read_text("ascii").strip()
