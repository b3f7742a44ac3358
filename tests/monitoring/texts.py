"""Two sources of texts that differ in what they are about: a shop's tickets, and notes of a cook."""

import random

from examples.demo.tickets import corpus
from graduand.monitoring.drift.prompts import Prompt

DISHES = ("the lentil soup", "a rhubarb tart", "the sourdough", "grilled mackerel", "a mushroom risotto", "the custard")
STEPS = (
    "simmer it gently",
    "whisk in the butter",
    "knead for ten minutes",
    "season with thyme",
    "let it rest overnight",
)
ENDS = ("until the crust is golden.", "before the guests arrive.", "with a pinch of nutmeg.", "over a low flame.")


def tickets(count: int, seed: int = 1) -> list[str]:
    """What the student was trained on."""
    return [ticket.text for ticket in corpus(seed, count)]


def recipes(count: int, seed: int = 1) -> list[str]:
    """What it never saw."""
    rng = random.Random(seed)
    return [
        f"For {rng.choice(DISHES)}, {rng.choice(STEPS)} and {rng.choice(STEPS)} {rng.choice(ENDS)}"
        for _ in range(count)
    ]


def prompts(texts: list[str]) -> list[Prompt]:
    return [Prompt(text) for text in texts]
