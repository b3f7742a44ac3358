"""What the log's tests share: an S3-speaking server."""

from collections.abc import Iterator

import pytest

from tests.gateway.logs.store import S3, environment


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3) -> Iterator[S3]:
    """The server, empty and well; this process's environment leads to it."""
    s3_server.faults = {}
    s3_server.seen.clear()
    s3_server.empty()
    with environment(s3_server.environ):
        yield s3_server
    s3_server.faults = {}
