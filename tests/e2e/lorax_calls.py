"""Calls the gateway with the real lorax-client, in the environment that `make e2e` makes for it; prints JSON.

Arguments: the gateway's address, a route, a prompt. lorax-client pins packages that the project cannot use itself.
"""

import json
import sys

from lorax import Client
from lorax.errors import ValidationError


def main() -> None:
    """Ask once whole, once streamed, and once for a route that is not there."""
    url, route, prompt = sys.argv[1:]
    client = Client(url, timeout=60)
    whole = client.generate(prompt, adapter_id=route, max_new_tokens=8)
    stream = list(client.generate_stream(prompt, adapter_id=route, max_new_tokens=8))
    try:
        client.generate(prompt, adapter_id=route + "x", max_new_tokens=8)
        refused = ""
    except ValidationError as error:
        refused = str(error)
    print(
        json.dumps(
            {
                "whole": whole.generated_text,
                "generated_tokens": whole.details.generated_tokens,
                "tokens": [token.text for token in whole.details.tokens],
                "logprobs": [token.logprob for token in whole.details.tokens],
                "streamed": "".join(part.token.text for part in stream if not part.token.special),
                "last": stream[-1].generated_text,
                "stream_tokens": stream[-1].details.generated_tokens,
                "refused": refused,
            }
        )
    )


if __name__ == "__main__":
    main()
