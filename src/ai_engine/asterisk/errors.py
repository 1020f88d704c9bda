"""What can go wrong between us and Asterisk.

    AriError
    ├── AriUnreachable     no answer: refused, timed out, broken off, not TLS
    ├── AriUnauthorized    401, 403: the text names the settings to correct
    ├── AriNotFound        404: the channel, bridge or variable is gone, or ARI itself is not there
    ├── AriConflict        409: not in Stasis, id in use, wrong state
    └── AriReplaced        another client took our application: its calls are that one's now

Any other status is a plain `AriError`. Texts hold method, path and Asterisk's message, never a query or a credential.
"""

from http import HTTPStatus


class AriError(Exception):
    """A request failed. `status` is the HTTP status, 0 when there was no answer."""

    retryable = False

    def __init__(self, status: int, method: str, path: str, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {message}" if status else f"{method} {path}: {message}")
        self.status = status
        self.method = method
        self.path = path
        self.message = message


class AriUnreachable(AriError):
    """Asterisk gave no answer. Whether it carried out the request is unknown."""

    retryable = True

    def __init__(self, method: str, path: str, message: str) -> None:
        super().__init__(0, method, path, message)


class AriUnauthorized(AriError):
    """Asterisk refused the user name or password, or the user may only read."""


class AriNotFound(AriError):
    """What the path names does not exist."""


class AriConflict(AriError):
    """What the path names is not in the state the request needs."""


class AriReplaced(AriError):
    """Another client connected under our application's name: Asterisk tells us nothing more."""

    def __init__(self, app: str) -> None:
        super().__init__(
            0,
            "GET",
            "/events",
            f"another engine took the Stasis application {app!r}: give each engine a name of its own (asterisk.app), "
            "or stop one",
        )


def error_for(status: int, method: str, path: str, message: str, *, user: str) -> AriError:
    """The exception for an HTTP status of 300 or more."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            fix = (
                f"Asterisk refused ARI user {user!r}: ASTERISK_ARI_USERNAME and ASTERISK_ARI_PASSWORD must equal "
                f"the section name and the password in Asterisk's ari.conf ({message})"
            )
            return AriUnauthorized(status, method, path, fix)
        case HTTPStatus.FORBIDDEN if message == "Write access denied":  # other 403s are about the thing, not the user
            fix = f"ARI user {user!r} may only read: set read_only = no in Asterisk's ari.conf"
            return AriUnauthorized(status, method, path, fix)
        case HTTPStatus.NOT_FOUND:
            return AriNotFound(status, method, path, message)
        case HTTPStatus.CONFLICT:
            return AriConflict(status, method, path, message)
        case _:
            return AriError(status, method, path, message)
