"""Recordings at addresses that clients name: what may be asked, however it is disguised, and how much of it."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from local_ai_server.errors import ServeError
from local_ai_server.http_api import fetching
from local_ai_server.http_api.fetching import Fetcher
from outbound_guard.destination import Allowed

HERE = Allowed.parse(["127.0.0.1"])


class Site:
    """A web server on one loopback address: `pages` by path, and the requests it got."""

    def __init__(self, pages):
        self.pages = pages
        self.requests = []
        self.port = 0

    async def answer(self, request):
        self.requests.append(request)
        return await self.pages[request.path](request)


@asynccontextmanager
async def site(address="127.0.0.1", port=0, **pages):
    found = Site({f"/{name}": page for name, page in pages.items()})
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = web.TCPSite(runner, address, port)
    await listening.start()
    found.port = listening._server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        await runner.cleanup()


def gives(body, **headers):
    async def page(request):
        return web.Response(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return page


def leads(to, status=302):
    async def page(request):
        return web.Response(status=status, headers={"Location": to})

    return page


class Names:
    """A resolver whose answers are said before, one a question; the last for all that follow."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def __call__(self, host, port):
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]]


async def fetch(url, *, allowed=HERE, **options):
    async with Fetcher(allowed, **{"max_bytes": 1000, "deadline_s": 20} | options).fetched(url) as file:
        file.seek(0)
        return file.read()


async def test_a_file_is_fetched_and_nothing_told_of_us():
    async with site(sound=gives(b"RIFF"), moved=leads("/sound", 308)) as here:
        assert await fetch(f"http://127.0.0.1:{here.port}/moved") == b"RIFF"
    for request in here.requests:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent"}
        assert request.headers["Accept-Encoding"] == "identity"


REFUSED = ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://10.0.0.1/", "http://192.168.1.1/x.wav"]
REFUSED += [
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://0.0.0.0/",
]
REFUSED += ["http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://100.64.0.1/", "http://metadata.example/"]
REFUSED += ["http://public.example:22/", "http://public.example:8765/"]
WRONG = [
    "file:///etc/passwd",
    "ftp://files.example/a.wav",
    "gopher://127.0.0.1/",
    "data:audio/wav;base64,AA==",
    "/etc/passwd",
]
WRONG += ["http://user:secret@public.example/", "http://", "", "http://127.1/", "http://2130706433/", "http://0x7f.1/"]


@pytest.mark.parametrize("url", REFUSED)
async def test_addresses_inside_are_all_refused_in_the_same_words(url):
    names = Names("169.254.169.254" if "metadata" in url else "127.0.0.1")
    with pytest.raises(ServeError, match="nothing could be fetched") as refused:
        await fetch(url, allowed=Allowed(), look_up=names)
    assert str(refused.value) == fetching._OUT_OF_REACH


@pytest.mark.parametrize("url", WRONG)
async def test_what_is_no_address_of_the_web_says_so(url):
    with pytest.raises(ServeError, match="url: ") as refused:
        await fetch(url, allowed=Allowed())
    assert refused.value.code == "invalid_message"
    assert "secret" not in str(refused.value)


async def test_a_redirect_to_the_inside_is_not_followed():
    async with site("127.0.0.2", secret=gives(b"secret")) as inside:
        async with site(
            absolute=leads(f"http://127.0.0.2:{inside.port}/secret"),
            metadata=leads("http://169.254.169.254/"),
            file=leads("file:///etc/passwd"),
            nowhere=leads(""),
            broken=leads("http://[::1"),
        ) as here:
            for path in ("absolute", "metadata", "file", "nowhere", "broken"):
                with pytest.raises(ServeError):
                    await fetch(f"http://127.0.0.1:{here.port}/{path}")
        assert not inside.requests


async def test_no_more_than_three_redirects():
    async with site(a=leads("/b"), b=leads("/c"), c=leads("/d"), d=gives(b"here"), ring=leads("/ring")) as here:
        assert await fetch(f"http://127.0.0.1:{here.port}/a") == b"here"
        with pytest.raises(ServeError, match="more than 3 times"):
            await fetch(f"http://127.0.0.1:{here.port}/ring")
    assert len([r for r in here.requests if r.path == "/ring"]) == 4


def test_https_leads_to_https_only():
    from yarl import URL

    fetcher = Fetcher(HERE, max_bytes=1)
    assert fetcher._next(URL("https://a.example/x"), "/y") == URL("https://a.example/y")
    with pytest.raises(ServeError, match="from https"):
        fetcher._next(URL("https://a.example/x"), "http://a.example/y")


async def test_a_name_that_changes_its_mind_leads_nowhere(monkeypatch):
    """The first look-up's address stands for a public one; the second one's is this machine."""
    async with (
        site("127.0.0.2", again=leads("/sound"), sound=gives(b"public")) as outside,
        site("127.0.0.1", port=outside.port, sound=gives(b"secret")) as inside,
    ):
        monkeypatch.setattr(fetching, "USUAL_PORTS", {outside.port})
        public = Allowed.parse(["127.0.0.2"])
        url = f"http://rebound.example:{outside.port}"
        assert await fetch(f"{url}/again", allowed=public, look_up=Names("127.0.0.2")) == b"public"
        with pytest.raises(ServeError, match="nothing could be fetched"):
            await fetch(f"{url}/again", allowed=public, look_up=Names("127.0.0.2", "127.0.0.1"))
        with pytest.raises(ServeError, match="nothing could be fetched"):
            await fetch(f"{url}/sound", allowed=public, look_up=Names("127.0.0.1"))
        assert not inside.requests


async def test_hosts_that_are_named_may_be_private_and_at_any_port():
    async with site(sound=gives(b"own")) as here:
        url = f"http://files.lan:{here.port}/sound"
        names = Names("127.0.0.1")
        assert await fetch(url, allowed=Allowed.parse(["files.lan"]), look_up=names) == b"own"
        with pytest.raises(ServeError):
            await fetch(url, allowed=Allowed.parse(["other.lan"]), look_up=names)


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 500)
            await asyncio.sleep(0)
    except ConnectionError:
        return response


async def drips(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.sleep(60)


async def says_nothing(request):
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (gives(b"x" * 1001), "message_too_large"),
        (endless, "message_too_large"),
        (drips, "timeout"),
        (says_nothing, "timeout"),
        (gives(b"\x1f\x8b" + bytes(50), Content_Encoding="gzip"), "invalid_message"),
    ],
)
async def test_huge_endless_slow_and_compressed_files_are_refused(page, code):
    async with site(sound=page) as here:
        with pytest.raises(ServeError) as refused:
            await fetch(f"http://127.0.0.1:{here.port}/sound", deadline_s=1.0 if code == "timeout" else 20)
    assert refused.value.code == code


async def test_an_error_page_is_no_recording():
    async def missing(request):
        return web.Response(status=404, text="internal details")

    async with site(sound=missing) as here:
        with pytest.raises(ServeError, match=r"status 404$"):
            await fetch(f"http://127.0.0.1:{here.port}/sound")


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_open():
    async with site(sound=gives(b"RIFF"), huge=gives(b"x" * 2000)) as here:
        await fetch(f"http://127.0.0.1:{here.port}/sound")
        await asyncio.sleep(0)
        before = open_files()
        for path in ("sound", "huge", "sound"):
            try:
                await fetch(f"http://127.0.0.1:{here.port}/{path}")
            except ServeError:
                pass
        async with asyncio.timeout(10):
            while open_files() > before:
                await asyncio.sleep(0.01)
