"""The list of what mypyc compiles, as setup.py has it."""

import os
import runpy
from unittest import mock

from tests.house.imports import ROOT


def hot() -> list[str]:
    """The files that are compiled, relative to the repository's root; setup.py is read without building anything."""
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        with mock.patch("setuptools.setup"), mock.patch.dict(os.environ, {"GRADUAND_PURE": "1"}):
            return list(runpy.run_path("setup.py")["hot"]())
    finally:
        os.chdir(before)
