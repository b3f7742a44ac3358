"""Progress that is only remembered."""


class Quiet:
    """What a run said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, done: int, total: int, text: str) -> None:
        pass

    def close(self) -> None:
        pass
