"""Where requests may go: every kind of address, names that change their minds, and the sockets themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from outbound_guard.connector import GuardedResolver, guarded_connector
from outbound_guard.destination import Allowed, Destination, DestinationRefused, is_public

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "192.169.0.1"]
PUBLIC += ["2606:4700::1111", "2a00:1450:4001:81b::200e", "2001:4860:4860::8888"]
REFUSED = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd12::1", "fc00::1", "fec0::1"],
    "link-local": ["169.254.1.1", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0"],
    "CGNAT": ["100.64.0.1", "100.127.255.255"],
    "metadata": ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"],
    "multicast": ["224.0.0.1", "224.0.1.1", "239.1.2.3", "ff02::1", "ff0e::1"],
    "this network, reserved, broadcast": ["0.0.0.0", "0.1.2.3", "240.0.0.1", "255.255.255.255", "::"],
    "documentation, benchmarks": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1", "3fff::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a00:1"],
    "IPv4-compatible and translated": ["::127.0.0.1", "::ffff:0:127.0.0.1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1"],
    "Teredo, ORCHID": ["2001::1", "2001:0:4136:e378::1", "2001:20::1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(("kind", "address"), [(kind, a) for kind, found in REFUSED.items() for a in found])
def test_all_others_are_refused(kind: str, address: str) -> None:
    assert not is_public(ipaddress.ip_address(address)), kind


@given(st.ip_addresses())
def test_what_is_public_is_global_to_python_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not (address.is_multicast or address.is_private or address.is_loopback or address.is_reserved)


@given(st.ip_addresses(v=4))
def test_no_form_of_an_ipv4_address_within_an_ipv6_one_passes(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    mapped, translated, nat64 = 0xFFFF << 32, 0xFFFF << 48, 0x64FF9B << 96
    forms = [number, mapped | number, translated | number, nat64 | number, (0x2002 << 112) | (number << 80)]
    forms += [(0x2001 << 112) | (number << 64), (0x64FF9B0001 << 80) | number]
    assert not any(is_public(ipaddress.IPv6Address(form)) for form in forms)


@given(st.ip_addresses(v=6))
def test_an_allowed_host_name_opens_private_addresses_only(address: ipaddress.IPv6Address) -> None:
    destination = Destination("http", "crm.lan", 80, Allowed(frozenset({"crm.lan"})))
    if destination.permits(address) and not is_public(address):
        assert address in ipaddress.ip_network("fc00::/7") or address.is_loopback


def test_an_allowed_host_may_be_private_but_no_metadata_service() -> None:
    destination = Destination("http", "crm.lan", 80, Allowed.parse(["CRM.lan"]))
    for address in ("127.0.0.1", "10.1.2.3", "192.168.0.9", "100.64.0.1", "fd00::1", "8.8.8.8"):
        destination.check(address)
    for address in (
        "169.254.169.254",
        "169.254.0.1",
        "100.100.100.200",
        "fe80::1",
        "224.0.0.1",
        "0.0.0.0",
        "fd00:ec2::254",
    ):
        with pytest.raises(DestinationRefused, match="allow_private"):
            destination.check(address)
    with pytest.raises(DestinationRefused):
        Destination("http", "other.lan", 80, Allowed.parse(["crm.lan"])).check("10.1.2.3")


def test_an_allowed_network_is_taken_at_its_word() -> None:
    destination = Destination("http", "any.example", 80, Allowed.parse(["10.1.0.0/16", "169.254.169.254", "fd00::/8"]))
    for address in ("10.1.2.3", "169.254.169.254", "fd00::1"):
        destination.check(address)
    for address in ("10.2.0.1", "::ffff:10.1.2.3", "169.254.169.253"):
        with pytest.raises(DestinationRefused):
            destination.check(address)


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "a b", "", "http://x", "0x7f000001", "127.1", "bücher.example"])
def test_what_cannot_be_allowed_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match="no host name, address or network"):
        Allowed.parse([entry])


URLS = {
    "https://crm.example": ("crm.example", 443),
    "http://CRM.Example./x": ("crm.example", 80),
    "https://[2606:4700::1111]": ("2606:4700::1111", 443),
    "http://8.8.8.8": ("8.8.8.8", 80),
}
BAD_URLS = ["ftp://crm.example", "crm.example", "file:///etc/passwd", "http://", "http://user:pw@crm.example"]
BAD_URLS += [
    "http://crm.example:8080",
    "http://crm.example:99999",
    "http://127.0.0.1",
    "http://[::1]",
    "http://2130706433",
]
BAD_URLS += ["http://127.1", "http://0x7f000001", "http://0177.0.0.1", "http://[::ffff:127.0.0.1]", "http://a_b c"]
BAD_URLS += [
    "http://169.254.169.254",
    "http://[fe80::1%25eth0]",
    "http://crm.example@evil.example",
    "http://bücher.example",
]


@pytest.mark.parametrize("url", URLS)
def test_addresses_that_may_be_configured(url: str) -> None:
    destination = Destination.of_url(url, Allowed())
    assert (destination.host, destination.port) == URLS[url]


@pytest.mark.parametrize("url", BAD_URLS)
def test_addresses_that_may_not(url: str) -> None:
    with pytest.raises(DestinationRefused):
        Destination.of_url(url, Allowed())


@given(st.text(max_size=40))
def test_any_text_is_a_destination_or_refused(text: str) -> None:
    try:
        destination = Destination.of_url(text, Allowed())
    except DestinationRefused:
        return
    assert destination.port in (80, 443)
    assert destination.host == destination.host.lower()


class Names:
    """A resolver whose answers are said before, each for one question; the last for all that follow."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def test_only_permitted_addresses_of_a_name_are_left() -> None:
    resolver = GuardedResolver(Destination("http", "a.example", 80), Names(["10.0.0.1", "8.8.8.8", "::1"]))
    assert [found["host"] for found in await resolver.resolve("a.example", 80)] == ["8.8.8.8"]


@pytest.mark.parametrize("answer", [["10.0.0.1"], ["::ffff:8.8.8.8", "fe80::1"], []])
async def test_a_name_without_any_is_an_error(answer: list[str]) -> None:
    with pytest.raises(OSError, match=r"a\.example"):
        await GuardedResolver(Destination("http", "a.example", 80), Names(answer)).resolve("a.example", 80)


@pytest.mark.parametrize(("host", "port"), [("b.example", 80), ("a.example", 81)])
async def test_no_other_host_or_port_is_resolved(host: str, port: int) -> None:
    with pytest.raises(DestinationRefused):
        await GuardedResolver(Destination("http", "a.example", 80), Names(["8.8.8.8"])).resolve(host, port)


class Server:
    """An HTTP server on loopback that counts what it is asked."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.port = 0

    async def __aenter__(self) -> Server:
        async def answer(request: web.Request) -> web.Response:
            self.hosts.append(request.host)
            return web.Response(text="here")

        app = web.Application()
        app.router.add_get("/", answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()


async def fetch(destination: Destination, names: Names | None = None, url: str = "") -> str:
    connector = guarded_connector(destination, look_up=names)
    url = url or f"http://{destination.host}:{destination.port}/"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        return await response.text()


async def test_a_request_goes_to_the_address_that_was_checked_under_its_own_name() -> None:
    async with Server() as server:
        allowed = Allowed.parse(["crm.lan"])
        assert await fetch(Destination("http", "crm.lan", server.port, allowed), Names(["127.0.0.1"])) == "here"
        assert server.hosts == [f"crm.lan:{server.port}"]


async def test_a_name_that_is_public_first_and_loopback_then_reaches_nothing() -> None:
    async with Server() as server:
        destination = Destination("http", "rebind.example", server.port)
        names = Names(["127.0.0.1"])
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorError):
                await fetch(destination, names)
        assert server.hosts == []


async def test_the_socket_itself_is_guarded_where_nothing_is_resolved() -> None:
    """An address in the URL passes the resolver by."""
    async with Server() as server:
        for url in (f"http://127.0.0.1:{server.port}/", f"http://localhost:{server.port}/"):
            with pytest.raises((aiohttp.ClientConnectorError, DestinationRefused)):
                await fetch(Destination("http", "public.example", server.port), Names(["127.0.0.1"]), url)
        assert server.hosts == []


async def test_a_real_look_up_of_localhost_is_refused() -> None:
    async with Server() as server:
        with pytest.raises(aiohttp.ClientConnectorError):
            await fetch(Destination("http", "localhost", server.port))
        assert await fetch(Destination("http", "127.0.0.1", server.port, Allowed.parse(["127.0.0.1"]))) == "here"
        assert len(server.hosts) == 1
