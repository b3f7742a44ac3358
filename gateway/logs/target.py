"""Where parts are kept: a folder, S3 or Google Cloud Storage, through obstore.

Parts are only ever created whole and under a name made from their content: one that is already there is the same one,
so putting twice is success. Endpoint, region and credentials of a bucket come from the environment (AWS_*, GOOGLE_*).
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from graduand.gateway.address import local_path
from graduand.gateway.errors import ConfigError, GraduandError
from graduand.gateway.logs import places

CONNECT_S = 5
TIMEOUT_S = 120


class TargetError(GraduandError, OSError):
    """The target did not take, give or delete something; nothing was lost, the caller tries again."""


class Target:
    """One target; keys are relative to its prefix."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        if trouble := places.problem(url):
            raise ConfigError(f"logs: {trouble}")
        self.url = url
        self.folder = local_path(url) if places.is_local(url) else None
        try:
            self._store: Any = _local(url) if self.folder is not None else _bucket(url, timeout_s)
        except (BaseError, OSError, ValueError) as error:
            raise TargetError(f"cannot use {url}: {_first_line(error)}") from error

    def put(self, key: str, data: bytes) -> bool:
        """Create a part; False if it was there already. Raise TargetError if it may not be there."""
        try:
            obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except (BaseError, OSError, ValueError) as error:
            raise TargetError(f"cannot put {key} to {self.url}: {_first_line(error)}") from error
        if self.folder is not None:
            _sync(str(self.folder / key))
        return True

    def listed(self, prefix: str = "") -> Iterator[str]:
        """All keys below a prefix, in no order."""
        try:
            for page in obstore.list(self._store, prefix or None):
                yield from (str(one["path"]) for one in page)
        except FileNotFoundError:
            return
        except (BaseError, OSError, ValueError) as error:
            raise TargetError(f"cannot list {self.url}: {_first_line(error)}") from error

    def get(self, key: str) -> bytes:
        """A part's bytes."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except (BaseError, OSError, ValueError) as error:
            raise TargetError(f"cannot get {key} from {self.url}: {_first_line(error)}") from error

    def delete(self, key: str) -> None:
        """Remove a part; one that is not there is no error."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError, ValueError) as error:
            raise TargetError(f"cannot delete {key} at {self.url}: {_first_line(error)}") from error


def _local(url: str) -> LocalStore:
    folder = local_path(url)
    folder.mkdir(parents=True, exist_ok=True)
    return LocalStore(folder.resolve())


def _bucket(url: str, timeout_s: float) -> Any:
    # The caller waits and tries again by itself, so that it can say how it goes.
    # Options that are given here hide those of the environment, so the one that counts is handed on.
    http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    return from_url(
        url,
        client_options={
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=timeout_s),
            "allow_http": http,
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
    )


def _sync(path: str) -> None:
    """The part and the names that lead to it outlast a power failure before the segment is deleted."""
    at = path
    for _ in range(4):  # the file, route=, hour=, dt=
        file = os.open(at, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        at = os.path.dirname(at)


def _first_line(error: BaseException) -> str:
    """obstore's errors go on with a dump of their insides, and may hold a whole answer of the store."""
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
