"""Event streams of OpenAI's Responses API: passed on from upstreams that speak it, or written out of chat chunks.

Invariants: sequence numbers count up without a gap in what is written here; an item is begun before its pieces and done before
the response is; the event that ends the stream, which holds the whole answer, is `finish`'s and leaves last.

Source: OpenAI's API reference (streaming events) and openai-python's types and stream helper.
"""

from typing import Any, Final

import orjson

from graduand.gateway.dataplane.dialects import jsonedit
from graduand.gateway.dataplane.dialects import response_items as items
from graduand.gateway.dataplane.dialects.assembly import Assembly, add_call
from graduand.gateway.dataplane.dialects.dialect import Addressee, Progress
from graduand.gateway.dataplane.dialects.upstream_chat import Chunks
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.dataplane.http.sse import EventSplitter, EventTooLong
from graduand.gateway.model import lenient
from graduand.gateway.model.forms import responses

Json = dict[str, Any]

ENDS: Final = ("response.completed", "response.incomplete")
# What shows a reader nothing yet.
SILENT: Final = ("response.created", "response.queued", "response.in_progress", "response.content_part.added")
ITEMS: Final = ("response.output_item.added", "response.output_item.done")
WORDS: Final = ("message", "reasoning")  # whose pieces show what there is to see
# The pieces of an answer, and what they are called in a chunk of chat.
PIECES: Final = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_content",
    "response.reasoning_summary_text.delta": "reasoning_content",
}
ARGUMENTS: Final = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
CALLS: Final = ("function_call", "custom_tool_call")
# What raises where an answer is not made as its API says.
STRANGE = (AttributeError, LookupError, TypeError)


def framed(kind: str, event: Json) -> bytes:
    """One event as it is sent."""
    try:
        data = orjson.dumps(event)
    except TypeError:  # half of a surrogate pair
        data = lenient.encoded(event)
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def error_event(error: Json, number: int) -> bytes:
    """The event that tells of a failure, made of the inside of OpenAI's error object."""
    told = {name: error.get(name) for name in ("code", "message", "param")}
    return framed("error", {"type": "error", **told, "sequence_number": number})


class ResponseAssembly(Assembly):
    """The answer out of a stream's pieces; once the response itself has come, that."""

    __slots__ = ("response",)

    def __init__(self) -> None:
        super().__init__()
        self.response: Json | None = None

    def answer(self) -> Json:
        return super().answer() if self.response is None else responses.chat_answer(self.response)

    def encoded(self) -> str | None:
        if self.response is None:
            return super().encoded()
        try:
            return lenient.encoded(self.response).decode()
        except lenient.Unreadable:
            return None


class PassingReader:
    """Passes a stream on as it comes, but for the name of the model."""

    __slots__ = ("_by", "_last", "_splitter", "_whole", "progress")

    def __init__(self, by: Addressee) -> None:
        self._by = by
        self._splitter = EventSplitter()
        self._whole = ResponseAssembly()
        self._last = b""
        self.progress = Progress()
        self.progress.assembly = self._whole

    def feed(self, data: bytes) -> bytes:
        """Events for the client out of the next bytes from the upstream."""
        progress = self.progress
        try:
            payloads = self._splitter.feed(data)
        except EventTooLong:
            progress.failure = failures.MALFORMED
            return b""
        out: list[bytes] = []
        for payload in payloads:
            if progress.done or progress.failure is not None:
                break
            out.append(self._passed(payload))
        return b"".join(out)

    def finish(self) -> bytes:
        """The event that ended the answer; raise UpstreamFailed if there was none."""
        if self.progress.failure is not None:
            raise UpstreamFailed(self.progress.failure)
        last = b"" if self.progress.done else self._unended()
        if not self.progress.done:
            raise UpstreamFailed(failures.TRUNCATED)
        return last + self._last

    def _unended(self) -> bytes:
        """The event that the end of the bytes ended; raise UpstreamFailed if it is only a part of one."""
        payload = self._splitter.finish()
        if payload is None:
            return b""
        passed = self._passed(payload)
        failure = self.progress.failure
        if failure is not None:
            cut = failure.message == failures.UNREADABLE.message
            raise UpstreamFailed(failures.TRUNCATED if cut else failure)
        return passed

    def _passed(self, payload: bytes) -> bytes:
        progress = self.progress
        if payload == b"[DONE]":  # vLLM's, after the end
            return b""
        try:
            event, strange = lenient.loads(payload)
        except lenient.Unreadable:
            progress.failure = failures.told(failures.UNREADABLE, payload)
            return b""
        progress.strange = progress.strange or strange
        kind = event.get("type") if type(event) is dict else None
        progress.failure = failure_of(event, payload)
        if progress.failure is not None or type(kind) is not str:
            return b""
        released = payload.replace(b"\n", b" ")
        response = event.get("response")
        if type(response) is dict:
            released = self._named(released, response)
        try:
            self._take(kind, event)
        except STRANGE:
            progress.failure = failures.told(failures.MALFORMED, payload)
            return b""
        progress.events += 1
        name = b"event: %b\n" % kind.encode() if kind.isascii() and kind.isprintable() else b""
        told = b"%bdata: %b\n\n" % (name, released)
        if not progress.done:
            return told
        self._last = told
        return b""

    def _named(self, payload: bytes, response: Json) -> bytes:
        model = response.get("model")
        if type(model) is not str:
            return payload
        if not self.progress.served_model:
            self.progress.served_model = lenient.mended(model)
        inner = jsonedit.value_of(payload, "response")
        if model == self._by.model or inner is None:
            return payload
        return jsonedit.set_value(payload, "response", jsonedit.set_model(inner, self._by.model_json))

    def _take(self, kind: str, event: Json) -> None:
        """Take an event into the answer."""
        progress, piece = self.progress, PIECES.get(kind)
        item, number = event.get("item"), event.get("output_index")
        if piece is not None:
            self._add({piece: event["delta"]})
        elif kind in ARGUMENTS:
            self._add({"tool_calls": [{"index": number, "function": {"arguments": event["delta"]}}]})
        elif kind == "response.output_item.added" and type(item) is dict and item.get("type") in CALLS:
            function = {"name": item.get("name"), "arguments": item.get("arguments") or item.get("input") or ""}
            self._add({"tool_calls": [{"index": number, "id": item.get("call_id"), "function": function}]})
        elif kind in ENDS:
            response: Json = event["response"]
            if type(response["output"]) is not list:
                raise TypeError
            self._whole.response = response
            self._whole.usage = responses.chat_usage(response.get("usage"))
            progress.done = progress.visible = True
        elif kind not in SILENT and not (kind in ITEMS and type(item) is dict and item.get("type") in WORDS):
            progress.visible = True

    def _add(self, delta: Json) -> None:
        if self._whole.add({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}):
            self.progress.visible = True


def failure_of(data: Any, payload: bytes) -> Failure | None:
    """The failure that an event or a whole answer reports; None if it reports none."""
    if type(data) is not dict:
        return failures.told(failures.MALFORMED, payload)
    response = data.get("response", data)
    reported: Any = None
    if type(response) is dict and response.get("status") == "failed":
        reported = response.get("error") or {"message": "the response failed"}
    elif data.get("type") == "error":
        reported = data.get("error") or {name: data.get(name) for name in ("message", "code", "param")}
    elif data.get("error") is not None or data.get("object") == "error":
        reported = data.get("error") or data
    if reported is None:
        return None
    failure = failures.from_error_event({"error": reported})
    return failures.told(failures.MALFORMED if failure is None else failure, payload)


class Call:
    """A function's call as far as it came; `index` is its place in the output, once it is begun."""

    __slots__ = ("arguments", "call_id", "id", "index", "name")

    def __init__(self) -> None:
        self.id = items.new_id("fc")
        self.call_id = ""
        self.name = ""
        self.arguments = ""
        self.index = -1


class WritingReader:
    """Writes a response's events out of chat chunks, which `chunks` reads."""

    __slots__ = (
        "_annotations", "_asked", "_calls", "_chunks", "_finish", "_item", "_kind", "_latest", "_logprobs", "_number", "_out",
        "_output", "_part", "_parts", "_pieces", "_response", "_tools", "progress",
    )  # fmt: skip

    def __init__(self, by: Addressee, asked: Json, chunks: Chunks) -> None:
        self._asked = asked
        self._chunks = chunks
        self.progress: Progress = chunks.progress
        self._response = items.begun(asked, by.model)
        self._out: list[bytes] = []
        self._output: list[Json] = []
        self._number = 0
        # The message or the reasoning that is open, and its part.
        self._kind = ""
        self._item = ""
        self._part = ""
        self._parts: list[Json] = []
        self._pieces: list[str] = []
        self._annotations: list[Json] = []
        self._logprobs: list[Json] = []
        self._calls: list[Call] = []
        self._latest: dict[int, Json] = {}
        self._tools: list[Json] = []
        self._finish: Any = None

    def feed(self, data: bytes) -> bytes:
        """Events for the client out of the next bytes from the upstream."""
        return self._told(self._chunks.feed(data))

    def finish(self) -> bytes:
        """The last events; raise UpstreamFailed if the answer broke off."""
        rest = self._told(self._chunks.finish())
        failure = self.progress.failure
        if failure is not None:
            raise UpstreamFailed(failure)
        self._begin()
        status = "completed" if items.why_incomplete(self._finish) is None else "incomplete"
        opened = [call for call in self._calls if call.index < 0]
        self._close("completed" if self._calls else status)
        for call in opened:
            self._begin_call(call)
        if not self._output:
            self._open("message", "output_text")
            self._close(status)
        for at, call in enumerate(self._calls):
            self._end_call(call, status if at == len(self._calls) - 1 else "completed")
        usage = self.progress.assembly.usage
        response = items.ended(self._response, self._output, self._finish, usage)
        self._emit(f"response.{response['status']}", {"response": response})
        return rest + self._taken()

    def _told(self, listed: list[Json]) -> bytes:
        """The events that chunks become."""
        try:
            for chunk in listed:
                self._chunk(chunk)
        except STRANGE:
            self.progress.failure = failures.MALFORMED
            self._out.clear()
        return self._taken()

    def _taken(self) -> bytes:
        told = b"".join(self._out)
        self._out.clear()
        return told

    def _emit(self, kind: str, event: Json) -> None:
        self._out.append(framed(kind, {"type": kind, "sequence_number": self._number, **event}))
        self._number += 1
        self.progress.events = self._number

    def _begin(self) -> None:
        if not self._number:
            self._emit("response.created", {"response": self._response})
            self._emit("response.in_progress", {"response": self._response})

    def _chunk(self, chunk: Json) -> None:
        self._begin()
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else []:
            if choice.get("index") not in (0, None):
                continue
            delta = choice.get("delta")
            if type(delta) is dict:
                self._delta(delta, choice.get("logprobs"))
            if choice.get("finish_reason") is not None:
                self._finish = choice["finish_reason"]

    def _delta(self, delta: Json, logprobs: Any) -> None:
        thought, text = items.thought_and_said(delta)
        refusal, calls, notes = delta.get("refusal"), delta.get("tool_calls"), delta.get("annotations")
        if thought:
            self._piece("reasoning", "reasoning_text", thought, {})
        told = items.logprobs_of(logprobs, self._asked)
        if text:
            self._piece("message", "output_text", text, {"logprobs": told})
            self._logprobs += told
        if type(refusal) is str and refusal:
            self._piece("message", "refusal", refusal, {})
        for note in items.annotations_of(notes):
            self._annotate(note)
        old = delta.get("function_call")
        if type(old) is dict:
            calls = [{"index": 0, "function": old}]
        begun = len(self._tools)
        for one in calls if type(calls) is list else []:
            if type(one) is dict:
                self._call(one, begun)

    # Messages and reasoning: one is open at a time, with one part.

    def _piece(self, kind: str, part: str, text: str, more: Json) -> None:
        self._open(kind, part)
        self._pieces.append(text)
        name = "response.refusal.delta" if part == "refusal" else f"response.{part}.delta"
        self._emit(name, {**self._place(), "delta": text, **more})

    def _annotate(self, note: Json) -> None:
        self._open("message", "output_text")
        number = len(self._annotations)
        self._annotations.append(note)
        place = {**self._place(), "annotation_index": number, "annotation": note}
        self._emit("response.output_text.annotation.added", place)

    def _place(self) -> Json:
        return {"item_id": self._item, "output_index": len(self._output) - 1, "content_index": len(self._parts)}

    def _open(self, kind: str, part: str) -> None:
        if self._kind == kind and self._part == part:
            return
        if self._kind != kind:
            self._close("completed")
            self._kind = kind
            self._item = items.new_id("msg" if kind == "message" else "rs")
            self._parts = []
            item = self._shown("in_progress")
            self._output.append(item)
            self._emit("response.output_item.added", {"output_index": len(self._output) - 1, "item": item})
        else:
            self._close_part()
        self._part = part
        self._pieces, self._annotations, self._logprobs = [], [], []
        self._emit("response.content_part.added", {**self._place(), "part": self._made("")})

    def _close_part(self) -> None:
        if not self._part:
            return
        text = lenient.mended("".join(self._pieces))
        part, place = self._made(text), self._place()
        told: Json = {"refusal": text} if self._part == "refusal" else {"text": text}
        if self._part == "output_text":
            told["logprobs"] = self._logprobs
        self._emit(f"response.{self._part}.done", {**place, **told})
        self._emit("response.content_part.done", {**place, "part": part})
        self._parts.append(part)
        self._part = ""

    def _close(self, status: str) -> None:
        if not self._kind:
            return
        self._close_part()
        at = len(self._output) - 1
        self._output[at] = item = self._shown(status)
        self._emit("response.output_item.done", {"output_index": at, "item": item})
        self._kind = ""

    def _made(self, text: str) -> Json:
        if self._part == "refusal":
            return items.refusal_part(text)
        if self._part == "reasoning_text":
            return items.reasoning_part(text)
        return items.text_part(text, self._annotations, self._logprobs)

    def _shown(self, status: str) -> Json:
        if self._kind == "message":
            return items.message(self._item, self._parts, status)
        text = "".join([part["text"] for part in self._parts]) if self._parts else None
        return items.reasoning(self._item, text, status)

    # Calls: several may be open, for their pieces may come in any order.

    def _call(self, delta: Json, begun: int) -> None:
        tool = add_call(self._latest, self._tools, delta, begun)
        at = next(number for number, one in enumerate(self._tools) if one is tool)
        if at == len(self._calls):
            self._calls.append(Call())
        call, function = self._calls[at], tool.get("function")
        if type(function) is not dict:
            return
        if call.index < 0:  # what has been told stays
            call.call_id, call.name = tool["id"] or "", function["name"]
        whole: str = function["arguments"]
        piece = whole[len(call.arguments) :]
        if not piece or not call.name:
            return
        call.arguments = whole
        if call.index < 0:
            self._begin_call(call)
        self._emit_piece(call, piece)

    def _begin_call(self, call: Call) -> None:
        """A call begins when its first argument comes: by then its name is whole."""
        self._close("completed")
        call.index = len(self._output)
        call.call_id = call.call_id or items.new_id("call")
        item = items.call(call.id, call.call_id, call.name, "", "in_progress")
        self._output.append(item)
        self._emit("response.output_item.added", {"output_index": call.index, "item": item})

    def _emit_piece(self, call: Call, piece: str) -> None:
        place = {"item_id": call.id, "output_index": call.index}
        self._emit("response.function_call_arguments.delta", {**place, "delta": piece})

    def _end_call(self, call: Call, status: str) -> None:
        arguments = lenient.mended(call.arguments)
        item = items.call(call.id, call.call_id, call.name, arguments, status)
        self._output[call.index] = item
        done = {"item_id": call.id, "output_index": call.index, "name": call.name, "arguments": arguments}
        self._emit("response.function_call_arguments.done", done)
        self._emit("response.output_item.done", {"output_index": call.index, "item": item})
