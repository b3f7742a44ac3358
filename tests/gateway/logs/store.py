"""A real S3-speaking server (moto) behind a proxy that fails as stores do."""

import http.client
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "graduand-logs"
URL = f"s3://{BUCKET}/some/prefix"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


class S3:
    """The server; `faults` (name -> probability) is what the proxy does to requests. `environ` leads to the proxy."""

    def __init__(self) -> None:
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        _, self._moto_port = self._moto.get_host_and_port()
        self.faults: dict[str, float] = {}
        self.seen: Counter[str] = Counter()
        self.slow_s = 0.2
        self._random = random.Random(5)
        owner = self

        class Handler(_Handler):
            s3 = owner

        self._proxy = _Proxy(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()
        self.client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self._moto_port}", region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def environ(self) -> dict[str, str]:
        port = self._proxy.server_address[1]
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}

    def draw(self) -> str:
        """What happens to the next request."""
        place = self._random.random()
        for name, share in self.faults.items():
            place -= share
            if place < 0:
                self.seen[name] += 1
                return name
        self.seen["well"] += 1
        return "well"

    def forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._moto_port, timeout=30)
        try:
            connection.request(handler.command, handler.path, body, dict(handler.headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def empty(self) -> None:
        for key in self.keys():
            self.client.delete_object(Bucket=BUCKET, Key=key)

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A shipper that is killed leaves its connections broken."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: S3

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = self.s3.draw()
        if fault == "reset":  # before anything was stored
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(self.s3.slow_s)
        if fault == "error":
            self._answer(500, [], b"<Error><Code>InternalError</Code><Message>again</Message></Error>")
            return
        status, headers, data = self.s3.forward(self, body)
        if fault == "lost":  # it was stored, and nobody hears of it
            self.close_connection = True
            return
        self._answer(status, headers, data)

    do_PUT = do_GET = do_HEAD = do_DELETE = do_POST = _any

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
        self.send_header("content-length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """These variables for this process, too: obstore reads them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
