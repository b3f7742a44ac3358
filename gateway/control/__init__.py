"""Rollouts made to happen: evidence from the request log, decisions of rollout.machine, route changes in the store.

Everything durable is in the state file and changes in one transaction with what caused it; the processes here hold
nothing that they could not read again. What to decide is rollout's; this package only carries it out.
"""
