"""Synthetic support tickets, with what a perfect teacher says of each: the queue it belongs to and how urgent it is.

Invariant: a pure function of the seed; no two tickets of one corpus have the same text. Most tickets name two matters, of
which one is settled, and two facts, of which one holds; the same words stand in both places. So it is the sentence, not
the vocabulary, that decides, and a loud or a meek tone says nothing at all.
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
        "the second charge on my card",
        "the wrong sum on the invoice",
        "the discount that was not taken off",
        "the VAT number missing from the receipt",
        "the subscription fee for the {product}",
        "the direct debit that went out twice",
        "the price I was asked for the {product}",
        "the payment that was declined",
    ),
    "delivery": (
        "the parcel that never came",
        "the courier who left the {product} outside",
        "the tracking that has not moved",
        "the wrong street on the shipping label",
        "the {product} that is still on its way",
        "the box handed to a neighbour",
        "the missed drop-off this morning",
        "the order stuck at customs",
    ),
    "account": (
        "the password I cannot reset",
        "the login that locks me out",
        "the old email in my profile",
        "the code that never reaches my phone",
        "the name I want changed on my profile",
        "the second user I cannot invite",
        "the sign-in from a stranger",
        "the profile I want deleted",
    ),
    "technical": (
        "the {product} that will not switch on",
        "the app that crashes on start",
        "the firmware update that hangs",
        "the {product} that drops its connection",
        "the error 41 on the screen",
        "the noise that the {product} makes",
        "the settings that do not stick",
        "the sensor that shows nonsense",
    ),
    "returns": (
        "the {product} I want to send back",
        "the exchange for a bigger size",
        "the return label I need",
        "the refund for what I sent back",
        "the {product} I no longer want",
        "the swap for another colour",
        "the time I have left to give it back",
        "the unopened {product} I would rather not keep",
    ),
}

# What makes a ticket urgent or not.
FACTS = {
    "high": (
        "our whole office is standing still",
        "we open to guests in two hours",
        "there is a smell of burning",
        "money is being taken every hour",
        "a patient depends on it tonight",
        "the whole team is locked out",
        "sparks come out of it",
        "everything stops at noon today",
    ),
    "normal": (
        "I need it within the week",
        "it slows me down a little",
        "I can work around it for some days",
        "Friday would be early enough",
        "one of us is held up now and then",
        "a reply in a day or two is fine",
        "it is a nuisance, nothing worse",
        "we need it by next week",
    ),
    "low": (
        "next month is early enough",
        "I am only curious",
        "it is merely an idea for later",
        "I have a spare one anyway",
        "nobody here is waiting for it",
        "it matters to no one this year",
        "it is just for our files",
        "any time this year will do",
    ),
}

ALONE = (
    "I write about {open}.",
    "My trouble is {open}.",
    "Please look at {open}.",
    "It is about {open}.",
    "Could you help with {open}?",
    "Once more: {open}.",
)
BESIDE = (
    "I write about {open}, not about {settled}.",
    "This is not about {settled} but about {open}.",
    "{settled} is settled, {open} is not.",
    "{open} is still open, while {settled} is done with.",
    "Thanks for sorting out {settled}. Now please look at {open}.",
    "My trouble is {open}; forget {settled}.",
    "Forget {settled}; my trouble is {open}.",
    "You solved {settled}, yet {open} remains.",
    "{open} remains, though you solved {settled}.",
    "Your colleague took {settled} for my question, but I meant {open}.",
    "I meant {open} when your colleague wrote back about {settled}.",
    "Is {open} being looked at? {settled} no longer matters.",
)
HOLDS = ("{true}.", "Mind that {true}.", "To be clear, {true}.", "For us {true}.")
HOLDS_AGAINST = (
    "I first wrote that {false}; in fact {true}.",
    "It is not that {false}: {true}.",
    "{true}, so do not believe the note that {false}.",
    "Do not believe the note that {false}: {true}.",
    "Last year {false}. This time {true}.",
    "This time {true}, unlike last year, when {false}.",
    "A colleague thinks {false}, but he is wrong: {true}.",
    "{true}, although a colleague wrongly thinks {false}.",
)
TONES = (
    "URGENT!!!",
    "I am furious.",
    "Please hurry!",
    "This is a scandal!",
    "ANSWER ME NOW",
    "Sorry to bother you.",
    "No offence meant.",
    "Hello there,",
    "Hi team,",
    "Thanks a lot.",
    "Kind regards",
    "Have a nice day!",
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
    if source.random() < 0.5:
        parts.insert(source.choice((0, 2)), source.choice(TONES))
    text = " ".join(part[0].upper() + part[1:] for part in parts)
    return _mistyped(source, text) if source.random() < 0.4 else text


def _matter(source: random.Random, queue: str) -> str:
    open_matter = source.choice(MATTERS[queue])
    if source.random() < 0.25:
        return source.choice(ALONE).format(open=_named(source, open_matter))
    settled = source.choice(MATTERS[_other(source, MATTERS, queue)])
    frame = source.choice(BESIDE)
    return frame.format(open=_named(source, open_matter), settled=_named(source, settled))


def _fact(source: random.Random, urgency: str) -> str:
    true = source.choice(FACTS[urgency])
    if source.random() < 0.35:
        return source.choice(HOLDS).format(true=true)
    return source.choice(HOLDS_AGAINST).format(true=true, false=source.choice(FACTS[_other(source, FACTS, urgency)]))


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
