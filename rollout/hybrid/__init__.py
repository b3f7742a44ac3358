"""Hybrid routing: how sure is the student, from where on may it answer alone, and what does that cost and bring?

`confidence` turns log probabilities into features, `calibration` features into a score, `threshold` scores into a
guaranteed cut, `curve` shows the trade. What is guaranteed is agreement with the teacher under exchangeability, never
correctness.
"""

from graduand.gateway.errors import GraduandError


class HybridError(GraduandError, ValueError):
    """The data given cannot carry the guarantee or the fit that was asked for; nothing was changed."""
