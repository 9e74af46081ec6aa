"""Whatever is sent to the page's server is answered with 2xx or 4xx, one line of JSON, and nothing but its files."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator

import pytest

import fphi
from asking import RESULTS, Reply, ask, asked, image, question
from fphi.serve.answering import Answer, Learned
from fphi.serve.guard import HEADERS, App
from fphi.serve.web import PAGE, page_file
from waiting import PATIENCE

RUN = RESULTS / "P-PROTO/prototypical"
GOOD = question([[image(0)], [image(3)]], image(0))
ONE = base64.b64encode(image()).decode()
HOST = ("host", "127.0.0.1:8000")
KIND = ("content-type", "application/json")


@pytest.fixture(scope="module")
def app() -> App:
    return fphi.serve.app(RUN)


@pytest.fixture(scope="module")
def own_files() -> set[bytes]:
    return {page_file(name) for name in PAGE}


def refused(reply: Reply, status: int | tuple[int, ...]) -> str:
    """The reason, where the status is one of these."""
    assert reply.status in ((status,) if isinstance(status, int) else status), (
        reply.status,
        reply.body[:200],
    )
    assert reply.headers["content-type"] == "application/json"
    assert HEADERS.items() <= reply.headers.items()
    answer = reply.json()
    assert answer.keys() == {"error"}
    assert answer["error"]
    return str(answer["error"])


def test_a_good_question_is_answered(app: App) -> None:
    reply = ask(app, body=GOOD)
    assert reply.status == 200
    assert HEADERS.items() <= reply.headers.items()
    answer = reply.json()
    assert answer["probabilities"][0] > 0.99
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert answer["steps"] is None
    assert len(answer["plane"]["support"]) == len(answer["plane"]["means"]) == 2


@pytest.mark.parametrize("name", PAGE)
def test_the_pages_own_files_are_served(app: App, name: str) -> None:
    for method in ("GET", "HEAD"):
        reply = ask(app, method, f"/{name}".removesuffix("index.html"), headers=[HOST])
        assert (reply.status, reply.headers["content-type"]) == (200, PAGE[name])
        assert reply.body == page_file(name)  # a server leaves it out for HEAD
        assert HEADERS.items() <= reply.headers.items()


def test_the_policy_lets_in_nothing_from_elsewhere() -> None:
    policy = HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    page = page_file("index.html").decode()
    assert " on" not in page.replace(" on ", "").replace(" one", "").replace(
        " only", ""
    )  # no inline handlers
    assert "style=" not in page


def test_the_learner_is_described(app: App) -> None:
    described = ask(app, "GET", "/api/learner", headers=[HOST]).json()
    assert described["method"] == "prototypical"
    assert described["limits"] == {"classes": 20, "examples": 100, "shots": None, "bound": False}
    assert described["look"]["size"] == 28
    assert str(RESULTS) not in json.dumps(described)


HOSTS = [
    *(
        "",
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost.",
    ),
    *(
        "127.0.0.1:port",
        "127.0.0.1:8000:8000",
        "127.0.0.1:-1",
        "[::1",
        "[evil]:80",
        "[]",
        "::1",
        "127.0.0.1:",
    ),
    *(
        "0.0.0.0:8000",
        "10.0.0.1",
        "2130706433",
        "127.1",
        "localhost\t.evil",
        "LOCALHOST.evil",
        "127.0.0.1, evil",
    ),
]


@pytest.mark.parametrize("host", HOSTS)
def test_foreign_hosts_are_refused(app: App, host: str) -> None:
    if host == "127.0.0.1:":  # a port may be left out
        assert ask(app, "GET", "/", headers=[("host", host)]).status == 200
        return
    for method, path in (("GET", "/"), ("GET", "/api/learner"), ("POST", "/api/answer")):
        assert "Host" in refused(ask(app, method, path, GOOD, [("host", host), KIND]), 403)


def test_a_host_there_must_be_once(app: App) -> None:
    refused(ask(app, "GET", "/", headers=[]), 403)
    refused(ask(app, "GET", "/", headers=[HOST, ("host", "evil.example")]), 403)
    refused(ask(app, "GET", "/", headers=[HOST, HOST]), 403)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1", "[::1]", "[::1]:8000", "LocalHost:8000"]
)
def test_own_hosts_are_answered(app: App, host: str) -> None:
    assert ask(app, body=GOOD, headers=[("host", host), KIND, ("origin", f"http://{host}")]).status == 200


def test_a_server_for_others_takes_addresses_and_its_name() -> None:
    guarded = fphi.serve.app(RUN, host="box.local")
    for host, status in (
        ("box.local:8000", 200),
        ("192.168.1.5:80", 200),
        ("[fe80::1]", 200),
        ("evil.example", 403),
    ):
        assert ask(guarded, "GET", "/", headers=[("host", host)]).status == status


ORIGINS = [
    *(
        "null",
        "http://evil.example",
        "https://127.0.0.1:8000",
        "http://127.0.0.1",
        "http://127.0.0.1:8001",
        "",
    ),
    *(
        "http://localhost:8000",
        "file://",
        "http://127.0.0.1:8000/",
        "http://127.0.0.1:8000.evil.example",
        "*",
    ),
    *("http://127.0.0.1:8000 http://evil.example", "chrome-extension://abc"),
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_foreign_origins_are_refused(app: App, origin: str) -> None:
    for method, path in (("POST", "/api/answer"), ("GET", "/api/learner")):
        assert "Origin" in refused(ask(app, method, path, GOOD, [HOST, KIND, ("origin", origin)]), 403)


KINDS = [
    *("", "text/plain", "text/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"),
    *(
        "application/jsonp",
        "application/json, text/plain",
        "applicationjson",
        "*/*",
        "image/png",
        "application/xml",
    ),
    *("text/html; application/json", "\x00", "é"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_other_content_types_are_refused(app: App, kind: str) -> None:
    refused(ask(app, body=GOOD, headers=[HOST, ("content-type", kind)]), 415)


def test_no_content_type_is_refused_and_parameters_are_not(app: App) -> None:
    refused(ask(app, body=GOOD, headers=[HOST]), 415)
    assert (
        ask(app, body=GOOD, headers=[HOST, ("content-type", "Application/JSON; charset=utf-8")]).status == 200
    )


@pytest.mark.parametrize("length", ["1000000", "99999999999999999999999", "9" * 4000])
def test_large_bodies_are_refused_by_what_they_claim(app: App, length: str) -> None:
    reply = ask(app, body=b"{}", headers=[HOST, KIND, ("content-length", length)])
    refused(reply, 413)
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "0x10", "1 2", "", "٣"[:0] + "+5"])
def test_lengths_that_are_none_are_refused(app: App, length: str) -> None:
    refused(ask(app, body=b"{}", headers=[HOST, KIND, ("content-length", length)]), 400)


@pytest.mark.parametrize(("size", "chunk"), [(120_000, 1 << 20), (3_000_000, 1000), (20_000_000, 1 << 20)])
def test_large_bodies_are_refused_by_what_comes(app: App, size: int, chunk: int) -> None:
    refused(ask(app, body=b" " * size, chunk=chunk), 413)
    refused(ask(app, "GET", "/", b" " * size, [HOST], chunk), 413)


def test_the_largest_question_that_is_allowed_fits(app: App) -> None:
    classes = [[image(5 * c + i) for i in range(5)] for c in range(20)]
    assert ask(app, body=question(classes, image(7)), chunk=4096).status == 200


BODIES: list[bytes] = [
    *(
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"{}",
        b"\xff\xfe",
        b"\x00",
        b"[1,",
    ),
    *(
        b"{'classes': []}",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"classes": NaN, "question": NaN}',
        b"true",
    ),
    *(
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b"9" * 90_000,
        b'{"classes": 1e999, "question": ""}',
        b"\xed\xa0\x80",
    ),
    b'{"classes": [], "question": "\\ud800"}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_question_are_refused(app: App, body: bytes) -> None:
    refused(ask(app, body=body), 400)


WRONG: list[object] = [
    None,
    True,
    1,
    -1,
    1e300,
    "",
    "x",
    {},
    {"a": 1},
    [1],
    [None],
    [[1]],
    [[None]],
    [[[]]],
    [[{}]],
]


def shapes() -> Iterator[object]:
    """Questions that are JSON, and wrong."""
    good: dict[str, object] = {"classes": [[ONE], [ONE]], "question": ONE}
    for key in good:
        yield {k: v for k, v in good.items() if k != key}
        for value in WRONG:
            yield {**good, key: value}
    yield {**good, "steps": 10**9}
    yield {**good, "__proto__": 1}
    for images in (
        "",
        "====",
        "AAAA",
        ONE[:-4],
        ONE + ONE,
        ONE[:-1] + "\n",
        ONE[:-2] + "..",
        ONE.replace("A", " "),
        "é" * 1048,
    ):
        yield {**good, "question": images}
        yield {**good, "classes": [[ONE], [images]]}
        yield {**good, "classes": [[ONE] * 20, [ONE] * 20, [images]]}
    for counts in (
        (),
        (1,),
        (0, 1),
        (1, 0),
        (0, 0),
        (1,) * 21,
        (0,) * 2000,
        (101, 1),
        (51, 50),
        (1, 10**4),
        (0,) * 20,
    ):
        text = "" if sum(counts) > 200 else ONE
        yield {**good, "classes": [[text] * count for count in counts]}


SHAPES = list(shapes())


@pytest.mark.parametrize("value", SHAPES, ids=range(len(SHAPES)))
def test_questions_of_wrong_shapes_are_refused(app: App, value: object) -> None:
    refused(ask(app, body=json.dumps(value).encode()), 400)


PATHS = [
    *(
        "/..",
        "/../pyproject.toml",
        "/%2e%2e/page.css",
        "/page/../../web.py",
        "//etc/passwd",
        "/etc/passwd",
        "/static",
    ),
    *(
        "/index.html",
        "/page.css/",
        "/page.css%00",
        "/PAGE.CSS",
        "/config.yaml",
        "/best.safetensors",
        "/web.py",
    ),
    *(
        "/..\\web.py",
        "/page.css;x",
        "/__init__.py",
        "/api",
        "/api/",
        "/api/answer/",
        "/api/learner/x",
        "/favicon.ico",
    ),
    *(
        "/" + "a" * 8000,
        "/\x00",
        "/é",
        "/%",
        "/.git/config",
        "/api/../page.css",
        "/./page.css",
        "*",
        "/remote.js/..",
    ),
    "/../../../../../../../../../../etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_else_is_served(app: App, path: str, own_files: set[bytes]) -> None:
    for method in ("GET", "POST"):
        reply = ask(app, method, path, GOOD if method == "POST" else b"", [HOST, KIND])
        assert reply.body not in own_files
        refused(reply, (404, 405))


def test_queries_change_nothing(app: App) -> None:
    reply = ask(app, "GET", "/?file=../../etc/passwd&run=/etc", headers=[HOST])
    assert reply.body == page_file("index.html")


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "", "X" * 500]
)
def test_other_methods_are_refused(app: App, method: str) -> None:
    for path in ("/", "/api/learner", "/api/answer", "/page.js"):
        reply = ask(app, method, path, b"", [HOST, KIND])
        refused(reply, 405)
        assert not [name for name in reply.headers if name.startswith("access-control")]


def test_get_asks_no_question_and_post_no_page(app: App) -> None:
    refused(ask(app, "GET", "/api/answer", headers=[HOST]), 405)
    refused(ask(app, "POST", "/api/learner", GOOD), 405)
    refused(ask(app, "POST", "/", GOOD), 405)


def test_a_learner_that_raises_is_no_error_of_the_server(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fphi.learnable import PrototypicalLearner

    def broken(*_: object) -> None:
        raise ZeroDivisionError("of the user's own")

    monkeypatch.setattr(PrototypicalLearner, "compare", broken)
    assert "ZeroDivisionError" in refused(ask(app, body=GOOD), 422)
    assert "of the user's own" in capsys.readouterr().err


def test_too_many_questions_at_once_are_sent_away_and_the_page_is_not(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is computed nine are taken; and the page is answered meanwhile."""
    go, usual = threading.Event(), Learned.answer

    def slow(learned: Learned, classes: list[list[bytes]], asked: bytes) -> Answer:
        go.wait(PATIENCE)
        return usual(learned, classes, asked)

    async def many() -> list[int]:
        asking = [asyncio.ensure_future(asked(app, body=GOOD)) for _ in range(20)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        assert (await asked(app, "GET", "/", headers=[HOST])).status == 200
        go.set()
        return sorted(reply.status for reply in await asyncio.gather(*asking))

    ask(app, body=GOOD)  # nothing else is under way
    monkeypatch.setattr(Learned, "answer", slow)
    assert asyncio.run(many()) == [200] * 9 + [429] * 11


def test_other_connections_are_closed(app: App) -> None:
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    asyncio.run(app({"type": "websocket", "headers": []}, receive, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close"}]
