"""What `graduand check` warns of: keys and addresses that were copied with more than themselves."""

import dataclasses

import pytest

from graduand.gateway.config import suspicions
from graduand.gateway.config.read import parse
from graduand.gateway.model.keys import Extra
from graduand.gateway.model.routes import Settings, read_replica
from tests.gateway.config.test_read import ENVIRON, FILE

PLAIN = parse(FILE, where="test.yaml", environ=ENVIRON)
URLS = [
    ("openai", "https://api.openai.com/v1", ""),
    ("openai", "https://api.openai.com/v1/", ""),
    ("openai", "https://api.openai.com", "https://api.openai.com:443 has no /v1; most servers want"),
    ("vllm", "http://gpu:8000", "has no /v1"),
    ("lorax", "http://gpu:8000", ""),
    ("openai", "https://generativelanguage.googleapis.com/v1beta/openai", ""),
    ("openai", "https://r.openai.azure.com/openai/v1", ""),
    (
        "openai",
        "https://api.openai.com/v1/chat/completions",
        "ends in /chat/completions, which the gateway adds itself",
    ),
    ("lorax", "http://gpu:8000/v1/completions", "ends in /completions"),
    ("openai", "https://x/v1/models/", "ends in /models"),
    ("openai", "https://r.openai.azure.com/openai/deployments/gpt-4o", "wants an api-version"),
    ("openai", "https://x/v1x/y", ""),
    ("openai", "https://x/av1", "has no /v1"),
]


def with_gpu(**more: object) -> Settings:
    gpu = dataclasses.replace(PLAIN.upstreams["openai"], **more)  # type: ignore[arg-type]
    return dataclasses.replace(PLAIN, upstreams={"openai": gpu})


@pytest.mark.parametrize(("kind", "url", "warning"), URLS)
def test_base_urls(kind: str, url: str, warning: str) -> None:
    found = list(suspicions.of_settings(with_gpu(kind=kind, replicas=(read_replica(url),))))
    assert len(found) == bool(warning)
    assert warning in "".join(found)


def test_a_deployment_with_its_version() -> None:
    url = read_replica("https://r.openai.azure.com/openai/deployments/gpt-4o")
    assert not list(suspicions.of_settings(with_gpu(replicas=(url,), query=(Extra("api-version", "2024-06-01"),))))


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ("sk-1", ""),
        ("Bearer sk-1", "begins with 'Bearer '"),
        ("bearer sk-1", "begins with 'Bearer '"),
        ('"sk-1"', "is in quotes"),
        ("'sk-1'", "is in quotes"),
        ("sk-1'", "is in quotes"),
        (" sk-1", "has blanks around it"),
        ("sk-1 # mine", "has a blank in it"),
        ("", "is empty"),
    ],
)
def test_keys(key: str, warning: str) -> None:
    found = list(suspicions.of_key(key))
    assert len(found) == bool(warning)
    assert warning in "".join(found)
    shown = list(suspicions.of_settings(with_gpu(headers=(Extra("api-key", key, secret=True),))))
    assert len(shown) == bool(warning)
    assert "sk-1" not in "".join(shown)
