"""What is known of an adapter's past, from the files beside it: what it was trained on, how it was admitted, with hashes.

Every part may be missing: an adapter from elsewhere has no records. Nothing is judged here.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import adapter, admission
from graduand.gateway.model import canonical

Json = dict[str, Any]
RUN_FILE = "run.json"
# What the record of a training says of its data; the rows' own places are nobody's business.
DATA = ("sha256", "rows", "curriculum_sha256", "validation_sha256")


def of(path: Path) -> Json:
    """The provenance of the adapter in a folder; raise AdapterError if it is none."""
    files = adapter.read(path)
    admitted, run = _read(path / admission.ADMISSION_FILE), _read(path / RUN_FILE)
    data = {} if run is None else run["record"].get("data", {})
    return {
        "digest": files.digest,
        "files": {name: file_sha256(path / name) for name in (adapter.CONFIG_FILE, adapter.WEIGHTS_FILE)},
        "admission": admitted,
        "training": None if run is None else {
            "sha256": run["sha256"], "base": run["record"].get("base"), "data": {name: data.get(name) for name in DATA},
        },
        "tests": None if admitted is None else admitted["record"].get("tests"),
    }  # fmt: skip


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Json | None:
    """A record and the hash of its file; None if there is none that can be read."""
    try:
        data = path.read_bytes()
        record = json.loads(data)
        canonical.dumps(record)  # or it cannot stand in a certificate
    except (OSError, ValueError):
        return None
    return {"sha256": hashlib.sha256(data).hexdigest(), "record": record} if isinstance(record, dict) else None
