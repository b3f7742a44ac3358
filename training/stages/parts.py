"""Parts of a stage's work that are done once: their results, as JSON lines in the stage's unfinished folder.

Invariant: a part whose result was returned is never computed again by a run that goes on in the same folder; a line that
a kill cut is dropped. The folder's name stands for all that the results depend on.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = ".parts.jsonl"


class Parts:
    """Results by key."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._done: dict[str, Any] = {}
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            entry = json.loads(line)
            self._done[entry["part"]] = entry["result"]
        if len(whole) < len(data):
            os.truncate(self._path, len(whole))

    def once(self, part: str, make: Callable[[], Any]) -> Any:
        """The part's result, a JSON value, computed now if no run did so before."""
        if part not in self._done:
            result = make()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"part": part, "result": result}) + "\n")
            self._done[part] = result
        return self._done[part]
