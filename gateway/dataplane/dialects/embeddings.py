"""OpenAI's `/v1/embeddings`: never streamed, and without log probabilities."""

from graduand.gateway.dataplane.dialects.openai import Json, OpenAI, some_text


class Embeddings(OpenAI):
    """The dialect."""

    def check(self, data: Json) -> None:
        some_text(data, "input")

    def streams(self, data: Json) -> bool:
        return False


EMBEDDINGS = Embeddings("/embeddings")
