"""Who may ask, and how much: checked before anything is read, of every request."""

import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

__all__ = ["HEADERS", "Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Sent with everything: the page may load and reach its own server, and nothing else."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuses what comes from other pages or under other names, and bodies that are too large.

    A page of another site can have the browser send requests here, and with a name that leads to this machine
    (DNS rebinding) read the answers too. So the Host must be this machine's, and the Origin, which browsers
    send along, the same.

    Args:
        app: what answers the rest.
        host: the address that is listened on. If it is a loopback one the Host must be; else it may be that
            name or any address in numbers, which no foreign name leads to.
        most_body: bytes.
    """

    def __init__(self, app: App, host: str, most_body: int) -> None:
        self.app, self.host, self.most_body = app, host.strip("[]").lower(), most_body

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        if scope["type"] != "http":
            return
        wrong = self._wrong(_headers(scope))
        if wrong is not None:
            await _refuse(send, *wrong)
            return
        body = await self._body(receive)
        if body is None:
            await _refuse(send, 413, f"the body is larger than {self.most_body} bytes; send fewer images")
            return
        delivered = False

        async def whole() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, whole, _with_headers(send))

    def _wrong(self, headers: Mapping[str, list[str]]) -> tuple[int, str] | None:
        """Status and reason, if the headers are refused."""
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 403, "the Host is not this server's; open the address that fphi serve printed"
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return 403, "the Origin is another page; open the address that fphi serve printed"
        for length in headers.get("content-length", []):
            if not (length.isascii() and length.isdigit()):
                return 400, "Content-Length is no number"
            if len(length) > 15 or int(length) > self.most_body:
                return 413, f"the body is larger than {self.most_body} bytes; send fewer images"
        return None

    def _is_own(self, host: str) -> bool:
        name = _name_of(host.lower())
        if name is None:
            return False
        if name in _LOOPBACK or name == self.host:
            return True
        return self.host not in _LOOPBACK and _is_address(name)

    async def _body(self, receive: Receive) -> bytes | None:
        """All of it; None: it is too large."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":  # who asked has gone
                return b"".join(parts)
            size += len(message.get("body", b""))
            if size > self.most_body:
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)


async def _refuse(send: Send, status: int, reason: str) -> None:
    """Answer with a status and one line of JSON that says why."""
    body = json.dumps({"error": reason}).encode() + b"\n"
    headers = {**HEADERS, "content-type": "application/json", "content-length": str(len(body))}
    if status == 413:
        headers["connection"] = "close"  # what is left of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_encoded(HEADERS)]}
        await send(message)

    return wrapped


def _headers(scope: Message) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())
    return found


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _name_of(host: str) -> str | None:
    """The name in ``name:port``, without the brackets of IPv6; None: it is none."""
    name, port = host, ""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or ":" not in name:
            return None
        port = port[1:]
    elif ":" in host:
        name, _, port = host.partition(":")
    plain = port == "" or (port.isascii() and port.isdigit() and len(port) <= 5)
    return name if plain and name else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
