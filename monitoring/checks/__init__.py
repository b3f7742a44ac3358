"""Output gates: small checks of one answer, each a file. Pure; what follows from a verdict is the data plane's.

answer.py     what a gate sees of an answer
gate.py       what a gate is, and what it finds
judging.py    a route's gates together: verdicts over a whole answer, and over a stream as it grows
written.py    gates as a route writes them, and the defaults of each task
"""
