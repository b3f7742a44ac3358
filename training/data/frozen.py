"""Frozen test sets: pinned by hash when they are made, checked whenever they are read.

`pins.json` beside the test sets has each one's SHA-256. Invariant: figures on a test set that was touched since it was
frozen are refused, not reported.
"""

import json
from pathlib import Path
from typing import Any

from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, read_samples
from graduand.training.stages.stage import file_sha256

PINS = "pins.json"


def freeze(folder: Path, tests: dict[str, list[Sample]]) -> dict[str, Any]:
    """Pin the files NAME.jsonl of `tests`, which are in `folder` already; returns the pins."""
    pins = {
        name: {"sha256": file_sha256(folder / f"{name}.jsonl"), "rows": len(samples)} for name, samples in tests.items()
    }
    (folder / PINS).write_text(json.dumps(pins, indent=2) + "\n")
    return pins


def read_pins(folder: Path) -> dict[str, Any]:
    """The pins in `folder`; raises DataError if it has none."""
    try:
        pins = json.loads((folder / PINS).read_bytes())
        return {str(name): dict(pin) for name, pin in pins.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{folder} has no frozen test sets ({error}); give a folder that `graduand train split` or "
            "`graduand train data jigsaw` made"
        ) from error


def read_frozen(folder: Path) -> dict[str, list[Sample]]:
    """The test sets of `folder` by name; raises DataError if one is not what was frozen."""
    tests = {}
    for name, pin in read_pins(folder).items():
        path = folder / f"{name}.jsonl"
        found = file_sha256(path) if path.is_file() else "missing"
        if found != pin.get("sha256"):
            raise DataError(
                f"{path} is not the test set that was frozen (pinned {str(pin.get('sha256'))[:12]}, found {found[:12]}); "
                "put the original back: figures on another set cannot be compared"
            )
        tests[name] = read_samples(path)
    return tests
