"""How much of what makes a code base hard to enter there may be."""

from tests.house.imports import House

ROOT_MODULES = {"gateway": 5, "training": 5, "rollout": 12, "monitoring": 8}
CIRCLES = 0
MUTUAL = 2
UPWARD = 0


def broken(house: House) -> list[str]:
    """What is over a limit, each as a sentence."""
    found = [
        f"{package}/ has {len(names)} files in its root, at most {limit} may stand there: {', '.join(names)}"
        for package, limit in ROOT_MODULES.items()
        if len(names := house.root_modules(package)) > limit
    ]
    counts = (
        ("circles of files", CIRCLES, house.circles()),
        ("pairs of packages that import each other", MUTUAL, house.mutual()),
        ("imports upward", UPWARD, house.upward()),
    )
    return found + [f"{len(have)} {what}, at most {limit}: {have}" for what, limit, have in counts if len(have) > limit]
