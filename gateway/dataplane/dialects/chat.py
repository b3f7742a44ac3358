"""OpenAI's `/v1/chat/completions`."""

from graduand.gateway.dataplane.dialects import jsonedit, logprobs
from graduand.gateway.dataplane.dialects.dialect import Addressee
from graduand.gateway.dataplane.dialects.openai import Json, OpenAI, one_choice, wrong
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
        return not to.lorax and one_choice(data)

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
