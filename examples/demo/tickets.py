"""Synthetic support tickets, with what a perfect teacher says of each: the queue it belongs to and how urgent it is.

Invariant: a pure function of the seed; no two tickets of one corpus have the same text. Most tickets name two matters,
of which one is settled, and two facts, of which one holds; the same words stand in both places. So it is the sentence,
not the vocabulary, that decides, and a loud or a meek tone says nothing at all.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PRODUCTS = ("Orbit lamp", "Nimbus kettle", "Pico router", "Tern headset", "Vela watch", "Moss heater", "Juno scale")

# What a ticket can be about. Each phrase stands equally well for the open matter and for a settled one.
MATTERS = {
    "billing": (
        "the double charge on my card",
        "the wrong sum on the invoice",
        "the discount missing from the bill",
        "the price of the {product}",
        "the payment that was declined",
        "the fee I was asked for",
    ),
    "delivery": (
        "the parcel that never came",
        "the courier who missed me",
        "the tracking that has not moved",
        "the {product} still on its way",
        "the order stuck at customs",
        "the wrong street on the label",
    ),
    "account": (
        "the password I cannot reset",
        "the login that locks me out",
        "the old email in my profile",
        "the sign-in from a stranger",
        "the user I cannot invite",
        "the profile I want deleted",
    ),
    "technical": (
        "the {product} that will not start",
        "the app that crashes",
        "the firmware update that hangs",
        "the error on the screen",
        "the noise the {product} makes",
        "the broken connection of the {product}",
    ),
    "returns": (
        "the {product} I want to send back",
        "the exchange for a bigger size",
        "the refund for what I sent back",
        "the {product} I no longer want",
        "the swap for another colour",
        "the unopened {product} to give back",
    ),
}

# What makes a ticket urgent or not.
FACTS = {
    "high": (
        "our whole office is standing still",
        "we open to guests in an hour",
        "there is a smell of burning",
        "money is being lost every minute",
        "a patient depends on it tonight",
    ),
    "normal": (
        "we need it this week",
        "it slows us down a little",
        "we can manage for a few days",
        "an answer by Friday is fine",
        "it is a small nuisance",
    ),
    "low": (
        "there is no hurry at all",
        "next year is early enough",
        "I am only curious",
        "it is just an idea for later",
        "nobody is waiting for it",
    ),
}

ALONE = ("I write about {open}.", "Please look at {open}.", "Could you help with {open}?")
# Each sentence has a twin with the two matters in the other order, so that neither place nor neighbour gives it away.
BESIDE = (
    "I write about {open}, not {settled}.",
    "I do not write about {settled} but {open}.",
    "{settled} is settled, {open} is not.",
    "{open} is still open, {settled} is settled.",
    "Please look at {open}, and forget {settled}.",
    "Forget {settled}, and please look at {open}.",
)
HOLDS = ("{true}.", "To be clear: {true}.")
HOLDS_AGAINST = (
    "It is not true that {false}: {true}.",
    "{true}; it is not true that {false}.",
    "Yesterday {false}, but now {true}.",
    "Now {true}, though yesterday {false}.",
)
ASIDES = ("apparently", "all in all", "on our side", "as far as I see")
TONES = (
    "URGENT!!!",
    "I am furious!",
    "Please hurry!",
    "What a scandal!",
    "Sorry to bother you.",
    "No offence.",
    "Hello!",
    "Thanks a lot.",
)


@dataclass(frozen=True, slots=True)
class Task:
    """One question asked about every ticket: its route's name, its system prompt and its answers."""

    name: str
    system: str
    labels: tuple[str, ...]

    def messages(self, ticket: "Ticket") -> list[dict[str, str]]:
        """The chat that a client sends."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": ticket.text}]

    def answer(self, ticket: "Ticket") -> str:
        """What the teacher says: a bare label."""
        return ticket.queue if self is QUEUE else ticket.urgency


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket's text and the truth about it."""

    id: str
    text: str
    queue: str
    urgency: str


QUEUE = Task("ticket-queue", f"Queue: {', '.join(MATTERS)}?", tuple(MATTERS))
URGENCY = Task("ticket-urgency", f"Urgency: {', '.join(FACTS)}?", tuple(FACTS))
TASKS = (QUEUE, URGENCY)


def corpus(seed: int, n: int) -> list[Ticket]:
    """`n` tickets, no two with the same text; a longer corpus of the same seed begins with a shorter one."""
    source = random.Random(f"tickets/{seed}")
    tickets: dict[str, Ticket] = {}
    while len(tickets) < n:
        queue, urgency = source.choice(list(MATTERS)), source.choice(list(FACTS))
        text = _text(source, queue, urgency)
        tickets.setdefault(text.lower(), Ticket(f"ticket-{seed}-{len(tickets):05d}", text, queue, urgency))
    return list(tickets.values())


def _text(source: random.Random, queue: str, urgency: str) -> str:
    parts = [_matter(source, queue), _fact(source, urgency)]
    if source.random() < 0.25:
        parts.reverse()
    if source.random() < 0.4:
        parts.insert(source.choice((0, 2)), source.choice(TONES))
    text = " ".join(part[0].upper() + part[1:] for part in parts)
    return _mistyped(source, text) if source.random() < 0.3 else text


def _matter(source: random.Random, queue: str) -> str:
    open_matter = source.choice(MATTERS[queue])
    if source.random() < 0.4:
        return source.choice(ALONE).format(open=_named(source, open_matter))
    settled = source.choice(MATTERS[_other(source, MATTERS, queue)])
    frame = source.choice(BESIDE)
    return frame.format(open=_named(source, open_matter), settled=_named(source, settled))


def _fact(source: random.Random, urgency: str) -> str:
    true = _said(source, urgency)
    if source.random() < 0.3:
        return source.choice(HOLDS).format(true=true)
    return source.choice(HOLDS_AGAINST).format(true=true, false=_said(source, _other(source, FACTS, urgency)))


def _said(source: random.Random, urgency: str) -> str:
    """A fact, half of the time at some distance from the words that say whether it holds."""
    fact = source.choice(FACTS[urgency])
    return f"{source.choice(ASIDES)} {fact}" if source.random() < 0.5 else fact


def _other(source: random.Random, labels: Iterable[str], label: str) -> str:
    return source.choice([other for other in labels if other != label])


def _named(source: random.Random, matter: str) -> str:
    return matter.format(product=source.choice(PRODUCTS))


def _mistyped(source: random.Random, text: str) -> str:
    """Two neighbouring letters change places, as they do under fast fingers."""
    places = [at for at in range(1, len(text) - 2) if text[at : at + 2].isalpha() and text[at - 1].isalpha()]
    at = source.choice(places)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def answers(tickets: Iterable[Ticket]) -> Iterator[dict[str, object]]:
    """The recorded teacher's answers: both questions about every ticket."""
    for ticket in tickets:
        for task in TASKS:
            yield {"messages": task.messages(ticket), "answer": task.answer(ticket)}


def write_answers(path: Path, tickets: Iterable[Ticket]) -> None:
    """The file that `graduand recorded-teacher --answers` replays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers(tickets)))
