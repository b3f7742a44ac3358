"""A rollout's specification file as the commands send it."""

from pathlib import Path
from typing import Any

import yaml

from graduand.gateway.errors import ConfigError

Json = dict[str, Any]


def read_spec(path: Path) -> Json:
    """A specification file as data, checked here so that a mistake in it is named before anything is asked."""
    from graduand.rollout.spec import file as specfile

    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the rollout {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    specfile.read(data)
    checked: Json = data
    return checked
