"""Which arm of a rollout a unit (a user, say) is in: a stateless, sticky hash.

Invariant: dialling the weight up moves nobody out of treatment, because [0, w) only grows. The control arm runs beside
treatment on units of its own, as large as treatment while there is room, so both are compared over the same hours.
Must never hash a constant when a unit is missing: the caller passes the request id instead and counts it.
"""

from typing import Final, Literal

import mmh3

Arm = Literal["treatment", "control", "rest"]

BUCKETS: Final = 10_000
CONTROL_START: Final = 5_000
DAY_S: Final = 86400.0


def unit_hash(salt: str, rollout: str, unit: str) -> int:
    """Murmur3 (32 bits, x86) of salt, rollout and unit: stands for the unit in logs, and modulo 10,000 is its bucket.

    Lengths stand before salt and rollout, so that no two triples ever join to the same text.

    >>> unit_hash("salt", "triage-1", "ann") == unit_hash("salt", "triage-1", "ann")
    True
    """
    joined = f"{len(salt)}:{salt}{len(rollout)}:{rollout}{unit}"
    # surrogatepass: a unit comes from a client, and a lone surrogate in it must not fail the request.
    return mmh3.hash(joined.encode("utf-8", "surrogatepass"), signed=False)


def bucket(salt: str, rollout: str, unit: str) -> int:
    """The unit's bucket, 0..9999.

    >>> bucket("salt", "triage-1", "ann") == unit_hash("salt", "triage-1", "ann") % 10_000
    True
    """
    return unit_hash(salt, rollout, unit) % BUCKETS


def arm(position: int, weight_bp: int) -> Arm:
    """The arm of bucket `position` when treatment has `weight_bp` basis points (0..10000) of all units.

    >>> arm(999, 1000), arm(1000, 1000), arm(5999, 1000)
    ('treatment', 'rest', 'control')
    >>> arm(7000, 6000)
    'control'
    """
    if position < weight_bp:
        return "treatment"
    if CONTROL_START <= position < CONTROL_START + weight_bp:
        return "control"
    return "rest"


def unit_key(salt: str, unit: str) -> int:
    """A unit's keyed hash that stays the same over rollouts, 53 bits: whole in JSON and in JavaScript.

    >>> unit_key("salt", "ann") == unit_key("salt", "ann") != unit_key("other", "ann")
    True
    """
    high, _ = mmh3.hash64(f"{len(salt)}:{salt}{unit}".encode("utf-8", "surrogatepass"), signed=False)
    return int(high >> 11)


def drawn(what: str, salt: str, unit: str, at: float, share_bp: int) -> bool:
    """Whether all of a unit's requests of the day (UTC) of `at` are drawn for `what`, with probability share_bp / 10,000.

    No state, and nothing of what was asked or answered: the same unit is drawn afresh each day.

    >>> drawn("audit", "salt", "ann", 0.0, 10_000), drawn("audit", "salt", "ann", 0.0, 0)
    (True, False)
    >>> drawn("audit", "salt", "ann", 5.0, 500) == drawn("audit", "salt", "ann", 86_399.0, 500)
    True
    """
    if share_bp >= BUCKETS:
        return True
    return share_bp > 0 and bucket(what, salt, f"{int(at // DAY_S)}:{unit}") < share_bp
