"""Where the log is: the spool on this machine's disk, its journals, and the target that parts are shipped to.

`logs: file:///PATH` keeps all in one folder: PATH/segments is the spool, PATH/dt=…/ the parts. With `s3://` or `gs://`
the spool is `record: {spool: PATH}`, by default beside the state file. Pure but for looking whether /dev/shm is there.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from graduand.gateway.address import local_path
from graduand.gateway.model.recording import RecordPolicy

if TYPE_CHECKING:
    from graduand.gateway.model.routes import Settings

SEGMENTS, FEEDBACK, LABELS, DRIFT, EVIDENCE = "segments", "feedback", "labels", "drift", "evidence"
# The tables beside the log itself that any replica ships, each in a folder of its name.
BESIDE = (FEEDBACK, LABELS, DRIFT)
MEMORY = Path("/dev/shm")


def problem(url: str) -> str | None:
    """Why `url` cannot be a target, or None."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is not closed
        parts = urlsplit("")
    if parts.scheme == "file" and not parts.netloc and len(parts.path) > 1:
        return None
    if parts.scheme in ("s3", "gs") and parts.netloc and "@" not in parts.netloc and not parts.query:
        return None
    shown = url.partition("?")[0] if "@" not in url else f"{parts.scheme}://…"
    return f"{shown!r} is not supported; use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"


def is_local(url: str) -> bool:
    """Whether the target is a folder of this machine."""
    return url.startswith("file://")


def spool(settings: "Settings") -> Path:
    """The folder that holds this gateway's segments until they are shipped."""
    if settings.record.spool is not None:
        return Path(settings.record.spool)
    if is_local(settings.logs):
        return local_path(settings.logs)
    if settings.state.startswith("sqlite://"):
        return local_path(settings.state).parent / "spool"
    return Path("graduand-data/spool")


def journals(spool_folder: Path, policy: RecordPolicy) -> Path | None:
    """The folder of the journals; None if there is no place for them.

    Journals hold records before they are redacted: with redaction they must stay in memory, off the disk.
    """
    if not policy.redacts:
        return spool_folder / "journal"
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return None
    name = hashlib.sha256(str(spool_folder.resolve()).encode()).hexdigest()[:16]
    return MEMORY / f"graduand-{os.getuid()}-{name}"
