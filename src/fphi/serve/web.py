"""The web application, and the server that it runs in."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from fphi.errors import FphiError
from fphi.ranges import Range, checked
from fphi.run.show.say import say
from fphi.serve.answering import MOST_CLASSES, Learned
from fphi.serve.characters import characters_to_draw
from fphi.serve.guard import App, Guard
from fphi.serve.requests import read_asked

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["PAGE", "app", "page_file", "serve"]

PAGE: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "look.js": "text/javascript; charset=utf-8",
    "pad.js": "text/javascript; charset=utf-8",
    "show.js": "text/javascript; charset=utf-8",
    "remote.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}
"""The files of the page, and what each is."""

_MOST_BODY = 16 * 2**20
_WAITING = 8  # questions that wait for one that is computed
_MISSING = "the page needs starlette and uvicorn ({error}); install the extra with pip install 'fphi[serve]'"


def page_file(name: str) -> bytes:
    """One of the page's own files."""
    return (files("fphi.serve") / "page" / name).read_bytes()


def app(run: Path | str, *, host: str = "127.0.0.1", allowed: Mapping[str, str] | None = None) -> App:
    """The page of a run as an ASGI application.

    ``GET /`` is the page, ``GET /api/learner`` says what the learner is, and ``POST /api/answer`` answers
    ``{"classes": [[IMAGE, …], …], "question": IMAGE}``, an image being base64 of its pixels, a byte for each.
    What is wrong with a request is said by its status and one line of JSON, ``{"error": "…"}``.

    Args:
        run: the folder of a few-shot training, on images.
        host: the address that it is asked under; see `Guard`.
        allowed: what is in files of Python, by option, as ``{"method": "FILE.py:NAME"}``.

    Raises:
        FphiError: it is no such run, or the extra ``fphi[serve]`` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route
    except ImportError as error:
        raise FphiError(_MISSING.format(error=error)) from error
    learned = Learned(run, allowed)
    description = {**learned.description(), "characters": characters_to_draw()}
    routes = [
        Route(f"/{'' if name == 'index.html' else name}", _file(name, kind)) for name, kind in PAGE.items()
    ]
    routes.append(Route("/api/learner", _fixed(json.dumps(description).encode() + b"\n", "application/json")))
    routes.append(Route("/api/answer", _Answers(learned).respond, methods=["POST"]))
    images = (learned.limits.examples + 1) * (4 * learned.image_bytes // 3 + 8)
    plain = Starlette(routes=routes, exception_handlers={404: _refused, 405: _refused})
    plain.router.redirect_slashes = False
    return Guard(plain, host, min(_MOST_BODY, images + 4096))


@checked(port=Range(0, 65535))
def serve(
    run: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allowed: Mapping[str, str] | None = None,
) -> None:
    """Show the page of a run until Ctrl-C.

    Args:
        run: the folder of a few-shot training, on images.
        host: the address to listen on. The usual one is this machine's alone; with another, everyone who
            reaches it can ask.
        port: of that address; 0: one that is free.
        allowed: see `app`.

    Raises:
        FphiError: the port is taken, the run is none, or the extra ``fphi[serve]`` is not installed.
    """
    try:
        from uvicorn import Config, Server
    except ImportError as error:
        raise FphiError(_MISSING.format(error=error)) from error
    with _listening(host, port) as listening:
        application = app(run, host=host, allowed=allowed)
        number = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(f"{run} is at http://{shown}:{number} (Ctrl-C ends it)", flush=True)
        config = Config(
            application,
            lifespan="off",
            ws="none",
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        try:
            Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            return


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # below 0 where a name leads nowhere
        reason = os.strerror(number) if number > 0 else "there is no such address"
        raise FphiError(
            f"port {port} of {host} is not to be had ({reason}); choose another --port or --host"
        ) from error


class _Answers:
    """Answers questions, off the event loop and one at a time; too many at once are sent away."""

    def __init__(self, learned: Learned) -> None:
        self.learned, self.waiting = learned, 0
        self.thread = ThreadPoolExecutor(1, "fphi-answers")
        # The first answer of a process takes long: it is given before anybody asks.
        blank = bytes(learned.image_bytes)
        self.thread.submit(learned.answer, [[blank] * (learned.limits.shots or 1)] * 2, blank)

    async def respond(self, request: "Request") -> "Response":
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _error(415, "the content type must be application/json")
        body = await request.body()
        if self.waiting > _WAITING:
            return _error(429, "too many questions at once; ask again")
        self.waiting += 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self.thread, self._answer, body)
        except FphiError as error:
            return _error(400, str(error))
        except Exception as error:  # a learner of the user's own may raise anything, and the page goes on
            say(f"fphi: {self.learned.run} did not answer: {type(error).__name__}: {error}")
            return _error(422, f"the learner fails on these examples ({type(error).__name__})")
        finally:
            self.waiting -= 1
        return _json(200, answer)

    def _answer(self, body: bytes) -> bytes:
        learned = self.learned
        asked = read_asked(body, MOST_CLASSES, learned.limits.examples, learned.image_bytes)
        answer = learned.answer(asked.classes, asked.question)
        return json.dumps(asdict(answer), allow_nan=False).encode()


_Handler = Callable[["Request"], Awaitable["Response"]]


def _file(name: str, kind: str) -> _Handler:
    return _fixed(page_file(name), kind)


def _fixed(content: bytes, kind: str) -> _Handler:
    from starlette.responses import Response

    async def respond(request: "Request") -> Response:
        return Response(content, headers={"content-type": kind})

    return respond


async def _refused(request: "Request", error: Exception) -> "Response":
    status = int(getattr(error, "status_code", 404))
    return _error(status, "there is no such page here" if status == 404 else "that is no way to ask here")


def _error(status: int, reason: str) -> "Response":
    return _json(status, json.dumps({"error": " ".join(reason.split())}).encode())


def _json(status: int, content: bytes) -> "Response":
    from starlette.responses import Response

    return Response(content + b"\n", status, headers={"content-type": "application/json"})
