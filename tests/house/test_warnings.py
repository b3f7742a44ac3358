"""A RuntimeWarning (a division by zero in numpy, a coroutine that nobody awaits) out of a module of ours fails its test."""

import pytest


@pytest.mark.parametrize("module", ["graduand.gateway.logs.tail", "graduand.rollout.ledger", "graduand"])
def test_a_warning_is_an_error(module: str) -> None:
    with pytest.raises(RuntimeWarning, match="odd"):
        exec("import warnings; warnings.warn('odd', RuntimeWarning)", {"__name__": module})
