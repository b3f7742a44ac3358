"""Compiles the hot path with mypyc where a C compiler is at hand; without one the same modules run as plain Python.

The modules are ordinary typed Python; compiled, a request costs the processor about half. GRADUAND_PURE=1 skips it;
GRADUAND_COMPILED=1 makes a failure an error.
"""

import os
import sys
from glob import glob

from setuptools import setup
from setuptools.command.build_ext import build_ext

# written.py is pydantic's, and jsontext.py and own_checks.py call other people's code only.
NOT_COMPILED = (
    "monitoring/checks/written.py", "monitoring/checks/jsontext.py", "monitoring/checks/language.py",
    "gateway/dataplane/own_checks.py",
)  # fmt: skip
# Folders are taken whole, those in them too: a module that moves within them stays compiled.
FOLDERS = ("gateway/dataplane", "monitoring/checks")
MODULES = (
    "gateway/model/record.py", "gateway/model/retry_after.py", "gateway/model/routing.py", "gateway/model/trace.py",
    "gateway/model/bounds.py", "gateway/model/lenient.py", "gateway/model/usage.py",
    "gateway/model/forms/canonical.py", "gateway/model/forms/claude.py", "gateway/model/forms/messages.py",
    "gateway/model/forms/responses.py", "gateway/model/forms/untranslatable.py",
    "rollout/assignment.py",
)  # fmt: skip


def hot() -> list[str]:
    """The files that are compiled, by the one name under which they are imported; a source archive has no other folders."""
    found = [path for folder in FOLDERS for path in sorted(glob(f"graduand/{folder}/**/*.py", recursive=True))]
    found += [f"graduand/{path}" for path in MODULES]
    left = {f"graduand/{path}" for path in NOT_COMPILED}
    return [path for path in found if not path.endswith("__init__.py") and path not in left]


class BuildHot(build_ext):
    """Builds all of the extensions or none: half a compiled group cannot be imported."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            print(f"graduand: the hot path is not compiled: {error}", file=sys.stderr)
            self.extensions.clear()
            if os.environ.get("GRADUAND_COMPILED"):
                raise


def extensions() -> list:  # type: ignore[type-arg]
    """The extension modules, or none with a printed reason."""
    if os.environ.get("GRADUAND_PURE"):
        return []
    try:
        from mypyc.build import mypycify
    except ImportError as error:
        print(f"graduand: the hot path is not compiled: {error}", file=sys.stderr)
        return []
    # An empty configuration: the strict checks are `make check`'s, and a build has not all stubs at hand.
    return list(mypycify(["--config-file=", "--ignore-missing-imports", *hot()], opt_level="3"))


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildHot})
