"""The admission record beside an adapter: proof that it was tried in a running engine before it may serve.

`graduand train admit` writes it; `graduand adapters add` asks for it. Invariant: a record counts for exactly the bytes
whose digest it names, and only if every check in it passed; anything else is refused with the command that helps.
"""

import json
from pathlib import Path
from typing import Any

from graduand.gateway.adapters.adapter import AdapterFiles
from graduand.gateway.errors import AdapterError

ADMISSION_FILE = "admission.json"
RUN_FILE = "run.json"  # what `train fit` writes beside an adapter: the record of its training


def require(files: AdapterFiles) -> dict[str, Any]:
    """The adapter's admission record; raises AdapterError if there is none, or none for these very bytes."""
    path = files.path / ADMISSION_FILE
    remedy = _remedy(files)
    try:
        record = json.loads(path.read_bytes())
        digest, checks = str(record["digest"]), list(record["checks"])
        failed = [str(check["name"]) for check in checks if check["passed"] is not True]
    except FileNotFoundError:
        raise AdapterError(f"{files.path} was not admitted ({ADMISSION_FILE} is missing): {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{path} is no admission record ({error!r}): {remedy}") from error
    if digest != files.digest:
        raise AdapterError(
            f"{path} admits the weights {digest}, and these are {files.digest}: they were changed since; {remedy}"
        )
    if failed or not checks:
        raise AdapterError(f"{files.path} was refused admission ({', '.join(failed) or 'no check was made'}): {remedy}")
    return dict(record)


def training(record: dict[str, Any]) -> str:
    """What an admission record says of the training: `known`, or `unknown` and who vouched for the adapter."""
    said = record.get("training")
    if not isinstance(said, dict) or said.get("known") is not False:
        return "known"
    return f"unknown; {said.get('vouched_by')} vouches for it"


def _remedy(files: AdapterFiles) -> str:
    command = f"graduand train admit --adapter {files.path}"
    if (files.path / RUN_FILE).is_file():
        return f"run `{command}` first"
    return (
        f"run `{command} --data ROWS.jsonl --vouched-by YOU` first, with rows like those that it will serve: there is no "
        f"{RUN_FILE} beside it, so its training is unknown"
    )


def write(path: Path, record: dict[str, Any]) -> None:
    """Write the record beside the adapter, whole or not at all."""
    partial = path / f".{ADMISSION_FILE}.partial"
    try:
        partial.write_text(json.dumps(record, indent=2) + "\n")
        partial.replace(path / ADMISSION_FILE)
    except OSError as error:
        raise AdapterError(f"cannot write the admission record into {path}: {error}") from error
