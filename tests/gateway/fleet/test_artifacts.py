"""Adapters from a folder, a bucket and the hub: fetched once, checked, and nothing kept of what is wrong."""

import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from graduand.gateway.adapters import adapter
from graduand.gateway.config.read import parse
from graduand.gateway.errors import AdapterError, ConfigError
from graduand.gateway.fleet.artifacts import NotFetched, local
from graduand.gateway.logs.target import TargetError
from graduand.gateway.model.routes import Artifacts, settings_from_json, settings_to_json
from tests.gateway.logs.store import BUCKET, S3, environment

NOTHING = Artifacts()
OURS = Artifacts(hub_allow=("ours/*",), hub_token="hf_secret")


def made(folder: Path, scale: float = 1.0) -> Path:
    """An adapter's two files, and its admission record."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / adapter.CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    header = json.dumps({"x.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = struct.pack("<Q", len(header)) + header + struct.pack("<f", scale)
    (folder / adapter.WEIGHTS_FILE).write_bytes(data)
    (folder / "admission.json").write_text("{}")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return made(tmp_path / "files")


def test_a_folder_is_taken_as_it_is(files: Path, tmp_path: Path) -> None:
    assert local(str(files), "", NOTHING, tmp_path / "cache") == files
    assert local(str(files), adapter.digest(files)[:6], NOTHING, tmp_path / "cache") == files
    with pytest.raises(AdapterError, match="is another adapter"):
        local(str(files), "abcdef012345", NOTHING, tmp_path / "cache")


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    server = S3()
    with environment(server.environ):
        yield server
    server.close()


def uploaded(bucket: S3, files: Path, prefix: str, *but: str) -> str:
    for path in files.iterdir():
        if path.name not in but:
            bucket.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.name}", Body=path.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def test_a_bucket(bucket: S3, files: Path, tmp_path: Path) -> None:
    source, cache, digest = uploaded(bucket, files, "adapters/a"), tmp_path / "cache", adapter.digest(files)
    found = local(source, digest, NOTHING, cache)
    assert found == cache / digest
    assert sorted(one.name for one in found.iterdir()) == sorted(one.name for one in files.iterdir())
    made(files, 2.0)
    uploaded(bucket, files, "adapters/a")  # changed since: what was fetched is what was asked for
    assert local(source, digest, NOTHING, cache) == found
    with pytest.raises(AdapterError, match="was changed"):
        local(source, digest, NOTHING, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_bucket_without_it(bucket: S3, files: Path, tmp_path: Path) -> None:
    source = uploaded(bucket, files, "half", adapter.WEIGHTS_FILE)
    with pytest.raises(NotFetched, match="has no adapter_model.safetensors"):
        local(source, "abcdef", NOTHING, tmp_path)
    with pytest.raises((NotFetched, TargetError)):
        local("s3://no-such-bucket/x", "abcdef", NOTHING, tmp_path)
    with pytest.raises(AdapterError, match="give its digest"):
        local(source, "", NOTHING, tmp_path)
    for odd in ("ftp://x/y", f"file://{tmp_path}/new", "s3://user:secret@bucket/x"):
        with pytest.raises(ConfigError, match="no place that adapters come from"):
            local(odd, "abcdef", NOTHING, tmp_path)
    assert not (tmp_path / "new").exists()


def test_what_was_damaged_in_the_cache_is_refused(bucket: S3, files: Path, tmp_path: Path) -> None:
    source, digest = uploaded(bucket, files, "again"), adapter.digest(files)
    found = local(source, digest, NOTHING, tmp_path / "cache")
    made(found, 3.0)
    with pytest.raises(AdapterError, match="was damaged"):
        local(source, digest, NOTHING, tmp_path / "cache")


class Hub:
    """A hub that sends weights on to another address, as the real one does; `asked` has path and token of each request."""

    def __init__(self, files: Path) -> None:
        self.asked: list[tuple[str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.asked.append((self.path, self.headers.get("authorization")))
                path = files / self.path.rpartition("/")[2]
                if self.path.startswith("/ours/private") and self.headers.get("authorization") is None:
                    self.send_response(401)
                elif self.path.startswith("/ours/") and path.name == adapter.WEIGHTS_FILE:
                    self.send_response(302)
                    self.send_header("location", f"http://localhost:{hub.port}/store/{path.name}")
                elif not path.is_file():
                    self.send_response(404)
                else:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(path.read_bytes())
                    return
                self.end_headers()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def hub(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    started = Hub(files)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{started.port}")
    yield started
    started.server.shutdown()
    started.server.server_close()


def test_the_hub_and_its_token(hub: Hub, files: Path, tmp_path: Path) -> None:
    digest = adapter.digest(files)
    found = local("hub:ours/private@v2", digest, OURS, tmp_path)
    assert adapter.digest(found) == digest
    assert ("/ours/private/resolve/v2/adapter_config.json", "Bearer hf_secret") in hub.asked
    assert ("/store/adapter_model.safetensors", None) in hub.asked  # the token goes to the hub alone
    asked = len(hub.asked)
    assert local("hub:ours/private@v2", digest, OURS, tmp_path) == found
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("source", "artifacts", "message"),
    [
        ("hub:theirs/x", OURS, "may not be fetched"), ("hub:ours/x", NOTHING, "may not be fetched"),
        ("hub:ours/../theirs/x", OURS, "is not hub:"), ("hub:ours", OURS, "is not hub:"),
        ("hub:ours/private", Artifacts(hub_allow=("ours/*",)), "answered 401"),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_give(
    hub: Hub, tmp_path: Path, source: str, artifacts: Artifacts, message: str
) -> None:  # fmt: skip
    with pytest.raises((AdapterError, ConfigError, NotFetched), match=message):
        local(source, "abcdef", artifacts, tmp_path)
    assert not [path for path, _ in hub.asked if "theirs" in path]
    assert list(tmp_path.glob(".fetching*")) == []


def test_the_configuration(tmp_path: Path) -> None:
    data = {
        "upstreams": {"t": {"kind": "openai", "base_urls": ["http://127.0.0.1:9/v1"]}},
        "routes": {"r": {"teacher": {"upstream": "t", "model": "gpt"}}},
        "adapters": {"cache": str(tmp_path), "hub_allow": ["ours/*"], "hub_token": {"env": "HF_TOKEN"}},
    }
    settings = parse(data, where="test", environ={"HF_TOKEN": "hf_secret"})
    assert settings.artifacts == Artifacts(str(tmp_path), ("ours/*",), "hf_secret")
    assert settings_from_json(json.loads(json.dumps(settings_to_json(settings)))) == settings
    assert "hf_secret" not in repr(settings)
    with pytest.raises(ConfigError, match=r"hub_allowed.*hub_allow"):
        parse({**data, "adapters": {"hub_allowed": []}}, where="test", environ={})
    with pytest.raises(ConfigError, match="kind vllm only"):
        parse(
            {**data, "upstreams": {"t": {**data["upstreams"]["t"], "slots": 4}}},
            where="test",
            environ={"HF_TOKEN": "x"},
        )
