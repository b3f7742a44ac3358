"""OpenAI's `/v1/completions`."""

from graduand.gateway.dataplane.dialects import jsonedit, logprobs
from graduand.gateway.dataplane.dialects.dialect import Addressee
from graduand.gateway.dataplane.dialects.openai import Json, OpenAI, one_choice, some_text


class Completions(OpenAI):
    """The dialect."""

    def check(self, data: Json) -> None:
        some_text(data, "prompt")

    def scorable(self, data: Json, to: Addressee) -> bool:
        return not to.lorax and one_choice(data)

    def watchable(self, data: Json) -> bool:
        return OpenAI.watchable(self, data) and type(data.get("prompt")) is str

    def with_logprobs(self, body: bytes, data: Json) -> bytes:
        if self.logprobs_wanted(data) >= logprobs.TOP:
            return body
        return jsonedit.set_member(body, "logprobs", b"%d" % logprobs.TOP)

    def logprobs_wanted(self, data: Json) -> int:
        asked = data.get("logprobs")
        return asked if type(asked) is int else -1


COMPLETIONS = Completions("/completions")
