"""Which addresses a request may go to: the guard against server-side request forgery.

A destination is one scheme, host and port. Its name is resolved and its addresses are judged when a socket is about to
be connected (`connector`), so nothing can change between the check and the use. An address passes if it is a public one
by IANA's special-purpose registries (RFC 6890 and what was added since); forms that hide another address in themselves
(IPv4-mapped, 6to4, NAT64, Teredo) and the metadata services of clouds never count as public. What else may be reached
the configuration must name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
USUAL_PORTS: Final = frozenset({80, 443})


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_PRIVATE: Final = _networks(
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
"""Loopback, private use, shared address space (CGNAT), unique local: where a host that is allowed by name may be."""
_METADATA: Final = _networks("169.254.169.254/32", "100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128")
_SPECIAL_V4: Final = _networks(
    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
    *("192.88.99.0/24", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4"),
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is assigned for unicast: IPv4-mapped, NAT64, link-local, multicast and the like are outside of it."""
_SPECIAL_V6: Final = _networks("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
"""Within it: protocol assignments with Teredo and ORCHID, documentation, 6to4, AS112."""


class DestinationRefused(OSError):
    """The guard does not let a request go there. The message says why, for logs and the configuration's author."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be reached though it is not public."""

    hosts: frozenset[str] = frozenset()
    """Names that may be at private addresses; not at link-local or metadata ones."""
    networks: tuple[Network, ...] = ()
    """Addresses that may be reached whatever they are."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Allowed:
        """From names, addresses and networks. Raises `ValueError`."""
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry.strip()))
            except ValueError as error:
                if "/" in entry or not _is_name(entry.strip()):
                    raise ValueError(f"{entry!r} is no host name, address or network: {error}") from None
                hosts.add(entry.strip().rstrip(".").lower())
        return cls(frozenset(hosts), tuple(networks))


@dataclass(frozen=True, slots=True)
class Destination:
    """One scheme, host and port, and what may stand behind the name."""

    scheme: str
    host: str
    port: int
    allowed: Allowed = Allowed()

    @classmethod
    def of_url(cls, url: str, allowed: Allowed, ports: Collection[int] = USUAL_PORTS) -> Destination:
        """Raises `DestinationRefused` for what can be told without resolving the name."""
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".").lower()
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError as error:
            raise DestinationRefused(f"{url!r} is no address: {error}") from None
        if parts.scheme not in ("http", "https") or not host:
            raise DestinationRefused("write it as https://host/path")
        if parts.username is not None or parts.password is not None:
            raise DestinationRefused("leave user and password out of the address")
        if port not in ports:
            told = ", ".join(str(number) for number in sorted(ports))
            raise DestinationRefused(f"port {port} is not among the `ports` it may use: {told}")
        destination = cls(parts.scheme, host, port, allowed)
        if (literal := _address(host)) is not None:
            destination.check(str(literal))
        elif not _is_name(host):
            raise DestinationRefused(f"{host!r} is neither a host name nor an address")
        return destination

    def permits(self, address: Address) -> bool:
        """Whether a request to this host may go to `address`."""
        if any(address in network for network in self.allowed.networks):
            return True
        if _within(address, _METADATA):
            return False
        if self.host in self.allowed.hosts and _within(address, _PRIVATE):
            return True
        return is_public(address)

    def check(self, address: str) -> None:
        """Raises `DestinationRefused`."""
        parsed = _address(address)
        if parsed is None or not self.permits(parsed):
            raise DestinationRefused(
                f"{self.host} is at {address}, which is no public address; if it is yours, name it in `allow_private`"
            )


def is_public(address: Address) -> bool:
    """Whether `address` is an ordinary one of the Internet and hides no other."""
    if isinstance(address, ipaddress.IPv4Address):
        return not (_within(address, _PRIVATE) or _within(address, _METADATA) or _within(address, _SPECIAL_V4))
    if address.scope_id is not None:
        return False
    return address in _GLOBAL_V6 and not _within(address, _SPECIAL_V6)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_name(text: str) -> bool:
    """A host name that no resolver takes for an address in a legacy form (`127.1`, `0x7f000001`, `2130706433`)."""
    labels = text.rstrip(".").split(".")
    last = labels[-1].lower()
    if len(text) > 253 or not text.isascii() or last.isdigit() or last.startswith("0x"):
        return False
    return all(0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() for label in labels)
