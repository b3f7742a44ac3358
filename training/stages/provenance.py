"""Where a file comes from: the stages that made it, followed back as far as their records lie beside each other."""

from pathlib import Path
from typing import Any

from graduand.training.stages import stage

LONGEST = 20


def road(path: Path) -> list[dict[str, Any]]:
    """The stages behind `path`, the last one first, each with its name and parameters; its own record has the rest.

    Empty for a file that no stage made. A stage whose folder was moved away ends the road.
    """
    found: list[dict[str, Any]] = []
    waiting, seen = [path.resolve()], set[Path]()
    while waiting and len(found) < LONGEST:
        folder = _folder(waiting.pop(0))
        if folder is None or folder in seen:
            continue
        seen.add(folder)
        record = stage.read_record(folder)
        found.append({"name": record["name"], "stage": record["stage"], "parameters": record["parameters"]})
        makers = (entry.get("made_by") for entry in record["inputs"].values())
        waiting += [folder.parent / str(maker) for maker in makers if maker]
    return found


def _folder(path: Path) -> Path | None:
    """The stage's folder that `path` is, or lies in."""
    return next((each for each in (path, *path.parents[:2]) if (each / stage.RECORD).is_file()), None)
