"""What another policy would have earned, from what this one logged. Pure; every number says which reward it is of.

`decisions` is what a log gives, `estimates` the estimators and their intervals. Off-policy evaluation rests on the logged
probabilities alone: where the policy in question would do what the logged one never did, there is nothing to weigh, and the
answer is a refusal, not a number.
"""

from graduand.gateway.errors import GraduandError


class CannotEvaluate(GraduandError, ValueError):
    """The log cannot say what this policy would earn; the message says why and what would change that."""
