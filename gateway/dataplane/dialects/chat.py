"""OpenAI's `/v1/chat/completions`."""

from graduand.gateway.dataplane.dialects import answers, jsonedit, logprobs, upstream_chat
from graduand.gateway.dataplane.dialects.dialect import Addressee, Reader, Sending, Whole
from graduand.gateway.dataplane.dialects.openai import Json, OpenAI, keeps_usage, one_choice, wrong
from graduand.gateway.dataplane.dialects.upstream_chat import Framed
from graduand.gateway.errors import RequestError


class Chat(OpenAI):
    """The dialect."""

    def check(self, data: Json) -> None:
        messages = data.get("messages")
        if type(messages) is not list or not messages or not all(type(message) is dict for message in messages):
            raise wrong(data, "messages", "a list of at least one message object")
        for at, message in enumerate(messages):
            if type(message.get("role")) is not str:
                raise RequestError(
                    400, f"messages[{at}].role is missing or not a string; give one such as 'user'",
                    param=f"messages.[{at}].role", code="invalid_type",
                )  # fmt: skip

    def scorable(self, data: Json, to: Addressee) -> bool:
        return not to.lorax and not to.anthropic and one_choice(data)

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        if to.anthropic:
            return upstream_chat.sending(data, to)
        return self.passed(body, data, to, scored=scored)

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        return upstream_chat.whole(body, headers, by) if by.anthropic else answers.whole(body, headers, by)

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        if by.anthropic:
            return Framed(by, keep_usage=keeps_usage(data))
        return self.chunks(data, by, scored=scored)

    def with_logprobs(self, body: bytes, data: Json) -> bytes:
        if self.logprobs_wanted(data) >= logprobs.TOP:
            return body
        return jsonedit.set_member(jsonedit.set_member(body, "logprobs", b"true"), "top_logprobs", b"%d" % logprobs.TOP)

    def logprobs_wanted(self, data: Json) -> int:
        if data.get("logprobs") is not True:
            return -1
        top = data.get("top_logprobs")
        return top if type(top) is int else 0


CHAT = Chat("/chat/completions")
