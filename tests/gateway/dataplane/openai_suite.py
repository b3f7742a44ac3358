"""openai-python's own tests of chat, responses, completions, embeddings and models, pointed at the gateway over a stand-in.

`python -m tests.gateway.dataplane.openai_suite CHECKOUT` takes a clone of https://github.com/openai/openai-python and runs
its tests with its own source, in this Python, which needs pytest-asyncio and, for some of them, aiohttp and httpx-aiohttp.
It prints what passed, and each failure; it ends with 1 if one is there that is not about an endpoint which the gateway does
not offer (NOT_OFFERED). Nothing of the checkout is copied. Its tests of responses name no model, which is a route here, and all
at once what the gateway refuses by name: they are run with a model and an input, and without those fields (FILLED).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graduand.gateway.dataplane.dialects.responses import REFUSED
from graduand.gateway.model.routes import Route, Teacher, Unit
from tests.gateway.dataplane.inprocess import serving, upstream
from tests.gateway.upstream import Conversation, Upstream

FILES = (
    "chat/test_completions.py", "test_completions.py", "test_embeddings.py", "test_models.py", "test_responses.py",
)  # fmt: skip
# Of the resources that these files test, what the gateway has no endpoint for: what is kept, and the deletion of models.
NOT_OFFERED = {
    "chat/test_completions.py": {"retrieve", "update", "list", "delete"},
    "test_models.py": {"delete"},
    "test_responses.py": {"retrieve", "delete", "cancel", "compact"},
}
# A plugin for pytest in the checkout's own Python path.
FILLED = """
from openai.resources.responses import AsyncResponses, Responses

def filled(create):
    def created(self, **given):
        kept = {name: one for name, one in given.items() if name not in %r}
        return create(self, **{"model": "gpt-5.1", "input": "hello", **kept})
    return created

for kind in (Responses, AsyncResponses):
    kind.create = filled(kind.create)
"""
OUTCOMES = ("passed", "skipped", "failure", "error")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
Json = dict[str, Any]


def answers(conversation: Conversation) -> None:
    """A valid answer in the shape of whatever API was asked, streamed where that was asked."""
    asked = conversation.seen.data
    if "/responses" in conversation.seen.line:
        whole = response(asked["model"])
        if asked.get("stream"):
            begun = {**whole, "status": "in_progress", "output": [], "usage": None}
            conversation.start_stream()
            conversation.events([
                {"type": "response.created", "sequence_number": 0, "response": begun},
                {"type": "response.completed", "sequence_number": 1, "response": whole},
            ])  # fmt: skip
            conversation.end_stream()
        else:
            conversation.whole(200, whole)
        return
    if "input" in asked:
        conversation.whole(200, embeddings(asked["model"]))
        return
    kind = "chat.completion" if "messages" in asked else "text_completion"
    if asked.get("stream"):
        events: list[Json | str] = [
            chunk(kind, asked["model"], "hello", None),
            chunk(kind, asked["model"], "", "stop"),
            "[DONE]",
        ]
        conversation.start_stream()
        conversation.events(events)
        conversation.end_stream()
    else:
        said = (
            {"message": {"role": "assistant", "content": "hello", "refusal": None}}
            if "messages" in asked
            else {"text": "hello"}
        )
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None, **said}
        conversation.whole(200, {**head(kind, asked["model"]), "choices": [choice], "usage": USAGE})


def head(kind: str, model: str) -> Json:
    return {"id": "cmpl-1", "object": kind, "created": 1_700_000_000, "model": model}


def chunk(kind: str, model: str, text: str, finish: str | None) -> Json:
    said = {"delta": {"content": text}} if kind == "chat.completion" else {"text": text}
    kind = "chat.completion.chunk" if kind == "chat.completion" else kind
    return {**head(kind, model), "choices": [{"index": 0, "finish_reason": finish, "logprobs": None, **said}]}


def response(model: str) -> Json:
    said = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    return {
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": model, "status": "completed", "error": None,
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]}],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "incomplete_details": None, "instructions": None,
        "metadata": {}, "temperature": 1.0, "top_p": 1.0, "usage": None,
    }  # fmt: skip


def embeddings(model: str) -> Json:
    data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}


@contextmanager
def gateway(names: set[str]) -> Iterator[int]:
    """The port of a data plane with a route for each of these models."""
    stand_in = Upstream()
    place = stand_in.place("stand-in", answers)
    routes = [Route(name, Teacher("t", name), None, "teacher", 0, Unit(("user",))) for name in sorted(names)]
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(Path(folder), [upstream("t", "openai", place.url)], routes) as port,
        ):
            yield port
    finally:
        stand_in.close()


def run(checkout: Path, report: Path) -> None:
    """Run the suite, writing its results to `report` in JUnit's form."""
    files = [checkout / "tests" / "api_resources" / name for name in FILES]
    names = {
        name for file in files for name in re.findall(r'(?:model=|models\S*\.retrieve\(\s*)"([^"]+)"', file.read_text())
    }
    plugin = report.with_name("filled_requests.py")
    plugin.write_text(FILLED % list(REFUSED))
    with gateway({*names, "gpt-5.1"}) as port:
        environ = {
            **os.environ, "TEST_API_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "PYTHONPATH": os.pathsep.join(
                [str(checkout / "src"), str(checkout), str(report.parent), os.environ.get("PYTHONPATH", "")]
            ),
        }  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", plugin.stem,
             "-n", "0", "--override-ini", "addopts=",
             f"--junitxml={report}", *map(str, files)],
            cwd=checkout, env=environ, check=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip


def outcomes(report: Path) -> Iterator[tuple[str, str, str]]:
    """Each test's file, name and outcome."""
    for case in ET.parse(report).iter("testcase"):
        file = (
            case.get("classname", "").removeprefix("tests.api_resources.").rpartition(".")[0].replace(".", "/") + ".py"
        )
        kinds = [one.tag for one in case if one.tag in ("failure", "error", "skipped")]
        yield file, case.get("name", ""), kinds[0] if kinds else "passed"


def not_offered(file: str, test: str) -> str:
    """The endpoint that a test asks, as the client names it, if the gateway has none; else an empty text."""
    verbs = "|".join(NOT_OFFERED.get(file, {"nothing"}))
    found = re.search(rf"_({verbs})(_|\[|$)", test)
    resource = file.removesuffix(".py").replace("test_", "").replace("/", ".")
    return f"{resource}.{found[1]}" if found else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    checkout = parser.parse_args().checkout.resolve()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        run(checkout, report)
        found = list(outcomes(report))
    counts = Counter((outcome, not_offered(file, test)) for file, test, outcome in found)
    print("\n" + ", ".join(f"{counts[one, '']} {one}" for one in OUTCOMES) + " of endpoints that are offered")
    for endpoint in sorted({endpoint for _, endpoint in counts} - {""}):
        print(f"{endpoint} is not offered: " + ", ".join(f"{counts[one, endpoint]} {one}" for one in OUTCOMES))
    bad = [
        (file, test) for file, test, outcome in found if outcome in ("failure", "error") and not not_offered(file, test)
    ]
    for file, test in bad:
        print(f"FAILED: {file}: {test}")
    return 1 if bad or not found else 0


if __name__ == "__main__":
    sys.exit(main())
