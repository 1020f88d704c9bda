"""The HTTP side of a download: which addresses are allowed, who may see the token, and what the answers mean."""

from __future__ import annotations

import email.utils
import ipaddress
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import SecretStr

TOKEN_VARIABLE: Final = "HUGGINGFACE_ACCESS_TOKEN"  # noqa: S105 - a name
_MAX_REDIRECTS: Final = 5
_MAX_RETRY_AFTER_S: Final = 120.0
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_RETRYABLE: Final = (408, 425, 429, 500, 502, 503, 504)

# At INFO httpx writes whole URLs, and those of a hub's store carry a signature.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class DownloadFailed(Exception):
    """A file could not be had; the message says why and what to do. What came of it so far is kept for the next try."""

    def __init__(self, message: str, *, retryable: bool = False, after_s: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        """The same request may succeed a moment later."""
        self.after_s = after_s
        """How long the server asked to be left alone."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the server says of the file. The hub states the checksum of the content; other servers do not."""

    etag: str | None
    """Of the bytes that are sent; strong ones only."""
    sha256: str | None
    git_sha1: str | None
    """Of files that are kept in the hub's git itself."""
    size_bytes: int | None
    revision: str | None


def shown(url: httpx.URL | str) -> str:
    """The address without what must not be seen: no user, no query."""
    url = httpx.URL(url)
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.host}{port}{url.path}"


def check_url(url: httpx.URL) -> None:
    """Raises DownloadFailed unless the address is https, or http on this machine, without a user in it."""
    if url.userinfo:
        raise DownloadFailed(f"{shown(url)}: no user and password in an address; use {TOKEN_VARIABLE} for the hub")
    if url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host)):
        return
    raise DownloadFailed(f"{shown(url)} is not https: models are fetched over https only")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def open_stream(
    client: httpx.Client, address: str, headers: dict[str, str], token: SecretStr | None
) -> Iterator[tuple[httpx.Response, Stated]]:
    """Follow redirects to the answer. The token goes to the first address's own origin and to no other.

    Raises DownloadFailed and httpx.HTTPError.
    """
    first = url = httpx.URL(address)
    stated = Stated(None, None, None, None, None)
    for _ in range(_MAX_REDIRECTS + 1):
        check_url(url)
        if first.scheme == "https" and url.scheme != "https":
            raise DownloadFailed(f"{shown(first)} led to {shown(url)}, which is not https")
        own = (
            {"Authorization": f"Bearer {token.get_secret_value()}"} if token and _origin(url) == _origin(first) else {}
        )
        request = client.build_request("GET", url, headers={**headers, **own, "Accept-Encoding": "identity"})
        response = client.send(request, stream=True)
        try:
            if _origin(url) == _origin(first):
                stated = _hub_states(response, stated)
            if response.status_code not in _REDIRECTS:
                yield response, _with_etag(response, stated)
                return
            location = response.headers.get("Location")
            if not location:
                raise DownloadFailed(f"{shown(url)} redirects to nowhere")
            try:
                url = url.join(location)
            except (httpx.InvalidURL, ValueError) as error:
                raise DownloadFailed(f"{shown(url)} redirects to an address that is none ({error})") from error
        finally:
            response.close()
    raise DownloadFailed(f"{shown(first)} redirects more than {_MAX_REDIRECTS} times")


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _hub_states(response: httpx.Response, before: Stated) -> Stated:
    """Large files: X-Linked-Etag is the sha256 (Git LFS's oid), small ones: ETag is git's sha1 of the blob."""
    headers = response.headers
    linked = headers.get("X-Linked-Etag", "").strip('"')
    revision = headers.get("X-Repo-Commit", before.revision)
    sha256 = linked if re.fullmatch(r"[0-9a-f]{64}", linked) else before.sha256
    git_sha1, size_bytes = before.git_sha1, before.size_bytes
    if sha256 is None and "X-Repo-Commit" in headers:
        plain = (linked or headers.get("ETag", "")).removeprefix("W/").strip('"')
        git_sha1 = plain if re.fullmatch(r"[0-9a-f]{40}", plain) else git_sha1
    if headers.get("X-Linked-Size", "").isdecimal():
        size_bytes = int(headers["X-Linked-Size"])
    return Stated(None, sha256, git_sha1, size_bytes, revision)


def _with_etag(response: httpx.Response, stated: Stated) -> Stated:
    etag = response.headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None
    return Stated(strong, stated.sha256, stated.git_sha1, stated.size_bytes, stated.revision)


def refuse_errors(response: httpx.Response, address: str, *, with_token: bool) -> None:
    """Raises DownloadFailed for an answer that is no content."""
    status, where = response.status_code, shown(address)
    if status in (200, 206, 416):
        return
    if status in (401, 403):
        if with_token:
            said = (
                f"the server refuses the token in {TOKEN_VARIABLE} (status {status}): accept the model's terms on its "
                "page with the account the token belongs to, and see that the token may read gated models"
            )
        else:
            said = (
                f"access is restricted (status {status}): accept the model's terms on its page, make an access token "
                f"there and set {TOKEN_VARIABLE} to it; a misspelt name is answered like that too"
            )
        raise DownloadFailed(f"{where}: {said}")
    if status in (404, 410):
        raise DownloadFailed(f"{where} is not there (status {status}): name or revision are wrong, or it was withdrawn")
    if status in _RETRYABLE:
        after_s = _retry_after_s(response.headers.get("Retry-After", ""))
        raise DownloadFailed(f"{where}: the server answers with status {status}", retryable=True, after_s=after_s)
    raise DownloadFailed(f"{where}: the server answers with status {status}")


def _retry_after_s(value: str) -> float | None:
    if value.isdecimal():
        return min(float(value), _MAX_RETRY_AFTER_S)
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)


def content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte and whole size of a partial answer (RFC 9110, 14.4); None for what it does not say."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not found:
        return None, None
    first, whole = found.groups()
    return (int(first) if first else None), (int(whole) if whole != "*" else None)
