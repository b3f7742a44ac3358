"""Who is told to the admin plane."""

import os
import pwd

import pytest

from graduand.gateway.client.admin import who_asks


def test_a_user_without_a_name_is_told_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GRADUAND_WHO", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert who_asks() == f"uid {os.getuid()}"
    monkeypatch.setenv("GRADUAND_WHO", "ann")
    assert who_asks() == "ann"
