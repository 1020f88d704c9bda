"""Why a request could not be served."""

from __future__ import annotations

from voice_wire.messages import Error, ErrorCode


class ServeError(Exception):
    """Ends a request with an `error` message."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        request_id: str | None = None,
        retryable: bool | None = None,
        **figures: float,
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.request_id = request_id
        """Of the request that it refuses, where the request has not begun."""
        self.retryable = retryable
        self.figures = figures
        """`active`, `max`, `available`, `at_capacity` of server_at_capacity; `retry_after` of rate_limited."""

    def to_message(self, *, request_id: str | None = None, call_id: str | None = None) -> Error:
        fields = {"code": self.code, "message": str(self), "retryable": self.retryable, **self.figures}
        return Error.model_validate(fields | {"request_id": request_id, "call_id": call_id})
