"""Asking the page's application without a server: one request, and all that is answered."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fphi.serve.guard import App, Message

__all__ = ["RESULTS", "Reply", "ask", "asked", "image", "question"]

RESULTS = Path(__file__).parent.parent / "results"
JSON = (("host", "127.0.0.1:8000"), ("content-type", "application/json"))


@dataclass(frozen=True)
class Reply:
    """Status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which must be one line of strict JSON."""
        assert self.body.endswith(b"\n"), self.body
        assert self.body.count(b"\n") == 1, self.body

        def refuse(name: str) -> None:
            raise AssertionError(name)

        return json.loads(self.body, parse_constant=refuse)


def ask(
    app: App,
    method: str = "POST",
    path: str = "/api/answer",
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = JSON,
    chunk: int = 1 << 20,
) -> Reply:
    """One request; the body comes in chunks, and Content-Length only if ``headers`` has it."""
    return asyncio.run(asked(app, method, path, body, headers, chunk))


async def asked(
    app: App,
    method: str = "POST",
    path: str = "/api/answer",
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = JSON,
    chunk: int = 1 << 20,
) -> Reply:
    """The same, beside others."""
    chunks = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
    waiting: list[Message] = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(chunks)}
        for i, part in enumerate(chunks)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope(method, path, headers), receive, send)
    start, *rest = sent
    given = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], given, b"".join(message.get("body", b"") for message in rest))


def scope(method: str, path: str, headers: Sequence[tuple[str, str]]) -> Message:
    """What a server tells an application of a request."""
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw,
        "raw_path": raw.encode("utf-8", "surrogatepass"),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }


def image(seed: int = 0, size: int = 28 * 28) -> bytes:
    """A bar at a place that depends on the seed."""
    pixels = bytearray(size)
    side = round(size**0.5)
    for x in range(4, side - 4):
        pixels[(4 + 5 * seed % (side - 8)) * side + x] = 255
    return bytes(pixels)


def question(classes: Sequence[Sequence[bytes]], asked: bytes) -> bytes:
    """The body that asks it."""

    def text(pixels: bytes) -> str:
        return base64.b64encode(pixels).decode()

    return json.dumps(
        {"classes": [[text(i) for i in images] for images in classes], "question": text(asked)}
    ).encode()
