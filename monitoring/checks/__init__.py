"""Output checks: small checks of one answer, each a file. Pure; what follows from a verdict is the data plane's.

answer.py     what a check sees of an answer
check.py      what a check is, and what it finds
judging.py    a route's checks together: verdicts over a whole answer, and over a stream as it grows
written.py    checks as a route writes them, and the defaults of each task
"""
