"""The proxy that one writes in an afternoon, as a peer: FastAPI and httpx, set up with care and no more.

It needs nothing of this project: it runs in an environment of its own, under uvicorn with uvloop and httptools. httpx
keeps 20 idle connections by default; with 64 clients that would make it look worse than it is, so the limit is raised.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    async with httpx.AsyncClient(base_url=os.environ["UPSTREAM"], limits=limits, timeout=60) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(body: dict[str, Any], request: Request) -> Any:
    client: httpx.AsyncClient = request.app.state.client
    body["model"] = os.environ["UPSTREAM_MODEL"]
    if not body.get("stream"):
        answer = await client.post("/v1/chat/completions", json=body)
        return JSONResponse(answer.json(), status_code=answer.status_code)

    async def events() -> AsyncIterator[bytes]:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for part in answer.aiter_raw():
                yield part

    return StreamingResponse(events(), media_type="text/event-stream")
