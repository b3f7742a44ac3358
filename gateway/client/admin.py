"""A client of a running gateway's admin plane."""

import getpass
import os
from typing import Any

import httpx

from graduand.gateway.errors import GraduandError

TIMEOUT_S = 300.0


class AdminRefused(GraduandError, RuntimeError):
    """The admin plane refused or could not be reached; the message is its own."""


def who_asks() -> str:
    """Whoever asks, for the audit trail; the user of a container often has an id only."""
    try:
        return os.environ.get("GRADUAND_WHO") or getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid {os.getuid()}"


class Admin:
    """A client of the admin plane."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call; return its JSON answer or raise AdminRefused with the reason."""
        headers = {"x-graduand-who": who_asks()}
        try:
            with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
                answer = client.request(method, self._base_url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise AdminRefused(
                f"the admin plane at {self._base_url} cannot be reached ({error}); start `graduand serve`, or name it "
                "with --admin URL or --config FILE"
            ) from error
        try:
            data = answer.json()
        except ValueError as error:
            if answer.status_code >= 500:
                raise AdminRefused(
                    f"{self._base_url} failed to answer (status {answer.status_code}); its log has the reason"
                ) from error
            raise AdminRefused(
                f"{self._base_url} is not Graduand's admin plane (status {answer.status_code})"
            ) from error
        if answer.status_code >= 400:
            raise AdminRefused(data.get("error", {}).get("message", str(data)))
        return data
