"""Fetches adapters to a folder of this machine: from a folder, a bucket or the hub, once for each digest.

Invariant: what is in the cache under a digest has that digest; a download that broke off or is something else is never
found there. Only what the configuration allows is fetched from the hub, and the token goes to the hub alone.
"""

import fnmatch
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from graduand.gateway.adapters import adapter
from graduand.gateway.adapters.admission import ADMISSION_FILE
from graduand.gateway.errors import AdapterError, ConfigError, GraduandError
from graduand.gateway.logs import places
from graduand.gateway.logs.target import Target
from graduand.gateway.model.routes import Artifacts

FILES = (adapter.CONFIG_FILE, adapter.WEIGHTS_FILE)
# The admission record travels with the adapter where there is one.
OPTIONAL = (ADMISSION_FILE,)
HUB = "https://huggingface.co"
HUB_SOURCE = re.compile(r"hub:(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[A-Za-z0-9][\w.-]*))?")
TIMEOUT_S = 60.0
MOST_BYTES = 8 << 30


class NotFetched(GraduandError, OSError):
    """An adapter could not be fetched from its source; nothing of it is kept."""


def is_remote(source: str) -> bool:
    """Whether this names a bucket or the hub, and not a folder."""
    return source.startswith("hub:") or "://" in source


def local(source: str, digest: str, artifacts: Artifacts, cache: Path) -> Path:
    """The folder of an adapter, fetched if it is not there yet; its digest begins with `digest`, or AdapterError is raised.

    `source` is a folder, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `hub:OWNER/NAME[@REVISION]`. What is not a folder of
    this machine can change at any time, so a digest must be given for it.
    """
    if not is_remote(source):
        path = Path(source)
        if digest:
            _check(path, digest, source)
        return path
    if not re.fullmatch(r"[0-9a-f]{6,64}", digest):
        raise AdapterError(f"{source} may change: give its digest as NAME@DIGEST or --digest, at least 6 hex digits")
    for known in sorted(cache.glob(f"{digest[: adapter.DIGEST_LENGTH]}*")):
        _check(known, digest, f"the copy of {source} in {known} was damaged: delete it; it")
        return known
    fetch = _from_hub(source, artifacts) if source.startswith("hub:") else _from_bucket(source)
    return _fetched(fetch, source, digest, cache)


def _fetched(fetch: Callable[[str, Path], bool], source: str, digest: str, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
    try:
        for name in FILES:
            if not fetch(name, folder / name):
                raise NotFetched(f"{source} has no {name}: give the place that holds what PEFT saved")
        for name in OPTIONAL:
            fetch(name, folder / name)
        place = cache / _check(folder, digest, source)
        folder.chmod(0o755)  # engines may run as another user
        if not place.exists():
            folder.rename(place)
        return place
    except OSError as error:
        if isinstance(error, GraduandError):
            raise
        raise NotFetched(f"{source} cannot be kept in {cache}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(folder: Path, digest: str, source: str) -> str:
    found = adapter.read(folder).digest
    if not found.startswith(digest) and not digest.startswith(found):
        raise AdapterError(f"{source} has the digest {found}, not {digest}: it is another adapter, or was changed")
    return found


def _from_bucket(source: str) -> Callable[[str, Path], bool]:
    if places.problem(source) or places.is_local(source):
        shown = source.rpartition("@")[2].partition("?")[0]  # the rest may be a secret
        raise ConfigError(
            f"{shown!r} is no place that adapters come from; give a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "hub:OWNER/NAME"
        )
    target = Target(source, timeout_s=TIMEOUT_S)

    def fetch(name: str, to: Path) -> bool:
        if name not in target.listed():
            return False
        to.write_bytes(target.get(name))
        return True

    return fetch


def _from_hub(source: str, artifacts: Artifacts) -> Callable[[str, Path], bool]:
    named = HUB_SOURCE.fullmatch(source)
    if named is None:
        raise ConfigError(f"{source!r} is not hub:OWNER/NAME or hub:OWNER/NAME@REVISION")
    name, revision = named["name"], named["revision"] or "main"
    if not any(fnmatch.fnmatchcase(name, pattern) for pattern in artifacts.hub_allow):
        raise AdapterError(f"{name} may not be fetched: add it, or a pattern such as owner/*, to adapters.hub_allow")
    base = f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/{name}/resolve/{revision}"
    headers = {"authorization": f"Bearer {artifacts.hub_token}"} if artifacts.hub_token else {}

    def fetch(file: str, to: Path) -> bool:
        # httpx leaves the token out when it is sent on to another host, as the hub does for weights.
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as client:
            try:
                with client.stream("GET", f"{base}/{file}", headers=headers) as answer:
                    if answer.status_code == 404:
                        return False
                    if answer.status_code != 200:
                        raise NotFetched(
                            f"{source}: the hub answered {answer.status_code} for {file}; see adapters.hub_token"
                        )
                    _save(answer, to, source)
            except httpx.HTTPError as error:
                raise NotFetched(f"{source} cannot be fetched: {error or type(error).__name__}") from error
        return True

    return fetch


def _save(answer: httpx.Response, to: Path, source: str) -> None:
    size = 0
    with to.open("wb") as file:
        for block in answer.iter_bytes(1 << 20):
            size += len(block)
            if size > MOST_BYTES:
                raise NotFetched(f"{source} has more than {MOST_BYTES >> 30} GiB: that is no adapter")
            file.write(block)
