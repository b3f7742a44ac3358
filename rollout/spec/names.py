"""What a student may be called: the one rule for adapter names."""

import re

from graduand.gateway.errors import AdapterError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[0-9a-f]{6,64})?")


def check_name(name: str) -> str:
    """Return `name` if it is a safe adapter name; raise AdapterError otherwise (no paths, no blanks)."""
    if not NAME.fullmatch(name):
        raise AdapterError(
            f"adapter name {name!r} is not allowed: use letters, digits, '.', '_' and '-', at most 128 of them, "
            "optionally followed by '@' and a hexadecimal digest, such as 'support-triage@3f9c1a0b22de'"
        )
    return name
