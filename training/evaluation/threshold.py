"""Where to cut a student's probability of the positive label, learned on validation rows. Pure.

A student that learned from few positive rows is often right about the order and wrong about the middle. Invariant: the
threshold comes from rows that are in no test set; the caller sees to that.
"""

from collections.abc import Sequence


def learn(shares: Sequence[float], positive: Sequence[bool]) -> float:
    """The threshold with the most right answers; of equals the one nearest to a half. Above it means positive.

    >>> learn([0.1, 0.2, 0.3, 0.9], [False, False, True, True])
    0.25
    """
    if not shares or len(shares) != len(positive):
        raise ValueError("a threshold needs rows")
    ordered = sorted(zip(shares, positive, strict=True))
    right = sum(positive)  # with a threshold below all of them, all are called positive
    found = [(right, ordered[0][0] / 2 or -1.0)]  # a share may be 0, and nothing is below that
    for place, (share, is_positive) in enumerate(ordered):
        right += -1 if is_positive else 1
        last = place + 1 == len(ordered)
        after = 1.0 if last else ordered[place + 1][0]
        if last or after > share:
            found.append((right, (share + after) / 2))
    best = max(count for count, _ in found)
    return min((cut for count, cut in found if count == best), key=lambda cut: abs(cut - 0.5))
