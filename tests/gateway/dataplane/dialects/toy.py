"""An API that nobody speaks, as unlike OpenAI's as one can be: what a new dialect may need of the data plane.

A request is `{"to": ROUTE, "say": TEXT, "live": BOOLEAN}`, its key stands in `x-toy-key`. An answer is `{"said": TEXT,
"cost": [PROMPT, COMPLETION]}`; live it comes as numbered events `part`, then one event `end` with the cost. An upstream of
kind `toy` speaks it itself at `/say`; any other is asked by chat.
"""

from typing import Any

import orjson

from graduand.gateway.dataplane.dialects import answers
from graduand.gateway.dataplane.dialects.answers import StreamReader
from graduand.gateway.dataplane.dialects.dialect import Addressee, Json, Progress, Reader, Sending, Whole
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.sse import EventSplitter
from graduand.gateway.errors import RequestError

TOP = {"id": "toy", "object": "chat.completion.chunk"}


def framed(kind: str, data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(data))


def cost(usage: Any) -> list[int]:
    return [usage["prompt_tokens"], usage["completion_tokens"]]


def usage_of(told: list[int]) -> Json:
    return {"prompt_tokens": told[0], "completion_tokens": told[1]}


class Toy:
    """The dialect."""

    endpoint = "/toy"
    forwards = (b"x-toy-mood",)

    def credential(self, headers: dict[bytes, bytes]) -> bytes:
        return b"Bearer " + headers.get(b"x-toy-key", b"")

    def parse(self, body: bytes) -> Json:
        data = orjson.loads(body)
        if "say" not in data:
            raise RequestError(400, "say something", param="say")
        return {**data, "model": data["to"]}

    def streams(self, data: Json) -> bool:
        return data.get("live") is True

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        if to.kind == "toy":
            return Sending("/say", orjson.dumps({**orjson.loads(body), "to": to.model}), b"x-toy-version: 1\r\n")
        asked: Json = {"model": to.model, "messages": [{"role": "user", "content": data["say"]}]}
        if self.streams(data):
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return Sending("/chat/completions", orjson.dumps(asked))

    def scorable(self, data: Json, to: Addressee) -> bool:
        return False

    def watchable(self, data: Json) -> bool:
        return True

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        if by.kind != "toy":
            return answers.whole(body, headers, by)
        said = orjson.loads(body)
        choice = {"index": 0, "message": {"role": "assistant", "content": said["said"]}, "finish_reason": "stop"}
        return Whole(body, {"model": by.model, "choices": [choice], "usage": usage_of(said["cost"])})

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        text = whole.form["choices"][0]["message"]["content"]
        return orjson.dumps({"said": text, "cost": cost(whole.usage)})

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        return Own(by) if by.kind == "toy" else Translated(by)

    def error(self, body: bytes, status: int) -> bytes:
        return orjson.dumps({"oh no": orjson.loads(body)["error"]["message"], "status": status})

    def error_event(self, body: bytes, events: int) -> bytes:
        return framed("oh no", {"message": orjson.loads(body)["error"]["message"]})


class Numbered:
    """What both readers keep: how many parts there were."""

    def __init__(self) -> None:
        self.parts = 0

    def part(self, text: str) -> bytes:
        self.parts += 1
        return framed("part", {"number": self.parts, "text": text})

    def end(self, usage: Any) -> bytes:
        return framed("end", {"parts": self.parts, "cost": cost(usage)})


class Translated(Numbered):
    """Writes chat chunks as parts."""

    def __init__(self, by: Addressee) -> None:
        super().__init__()
        self._chunks = StreamReader(by, keep_usage=False)

    @property
    def progress(self) -> Progress:
        return self._chunks

    def feed(self, data: bytes) -> bytes:
        self._chunks.feed(data)
        text = self._chunks.assembly.unread()
        return self.part(text) if text else b""

    def finish(self) -> bytes:
        self._chunks.finish()
        return self.end(self._chunks.assembly.usage)


class Own(Numbered):
    """Reads parts as they come, and numbers them anew."""

    def __init__(self, by: Addressee) -> None:
        super().__init__()
        self._splitter = EventSplitter()
        self.progress = Progress()
        self.progress.served_model = by.model

    def feed(self, data: bytes) -> bytes:
        out = b""
        for payload in self._splitter.feed(data):
            event = orjson.loads(payload)
            if "text" in event:
                self.progress.visible = True
                self.progress.assembly.add({**TOP, "choices": [{"index": 0, "delta": {"content": event["text"]}}]})
                out += self.part(event["text"])
            else:
                self.progress.done = True
                end = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
                self.progress.assembly.add({**TOP, "choices": end, "usage": usage_of(event["cost"])})
        return out

    def finish(self) -> bytes:
        if not self.progress.done:
            raise UpstreamFailed(failures.TRUNCATED)
        return self.end(self.progress.assembly.usage)
