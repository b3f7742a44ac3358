"""The page: what prompts say is only ever text, and it draws what the API tells, in a real browser where there is one."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.control.live import Rollouts
from tests.gateway.running import Gateway, route, until, upstream
from tests.gateway.speaking import Client
from tests.gateway.upstream import Action, Upstream

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000",
)  # fmt: skip
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
TASK = {"kind": "json"}


def says(text: str) -> Action:
    """A model that always answers the same object."""
    message = {"role": "assistant", "content": json.dumps({"says": text})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}
    return lambda conversation: conversation.whole(200, whole)


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollouts]:
    """A rollout whose prompts, answers, reasons and actors are all hostile."""
    folder, server = tmp_path_factory.mktemp("page"), Upstream()
    places = {name: server.place(name, says(word + EVIL)) for name, word in (("t", "yes"), ("s", "no"))}
    section = route("t", "s", task=TASK)
    gateway = Gateway(folder, {name: upstream(place.url) for name, place in places.items()}, {"triage": section})
    api = Rollouts(gateway)
    name = api.start("triage", "small@3f9c1a0b22de", harm=[{"agreement": {"p0": 0.01}}])
    api.until(name, "shadow")
    with Client(gateway.port) as client:
        for _ in range(5):
            client.ask({"model": "triage", "messages": [{"role": "user", "content": "Hello " + EVIL}]})
    until(lambda: api.get(name)["pairs"] == 5, "the pairs are counted")
    assert api.verb(name, "pause", why=EVIL).status_code == 200
    yield api
    gateway.stop()
    server.close()


def test_files_are_there_and_may_run_nothing_else(rollouts: Rollouts) -> None:
    admin = rollouts.admin
    assert admin.get("/").headers["location"] == "/rollouts"
    for path, kind in (
        ("/rollouts", "text/html"),
        ("/rollouts/page.css", "text/css"),
        ("/rollouts/page.js", "text/javascript"),
    ):
        answer = admin.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    assert "innerHTML" not in admin.get("/rollouts/page.js").text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_hostile_text_stays_text(rollouts: Rollouts, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "--dump-dom", f"{rollouts.gateway.admin_url}/rollouts"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<img" not in page
    assert page.count("<script") == 1  # its own
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 4  # prompt, both answers, reason
    assert "Latest disagreements" in page
    assert "hold: paused" in page
