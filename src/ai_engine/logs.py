"""Structured logs: one line an event, `call_id` on each line of a call, secrets never."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

SECRET_WORDS = ("password", "token", "secret", "authorization", "api_key")
TRANSCRIPT_KEYS = frozenset({"text", "transcript", "caller_text", "agent_text", "heard"})
REDACTED = "[redacted]"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def redact_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank every text whose key sounds like a secret, one level of mappings deep (a number is none: token counts)."""
    for key, value in event.items():
        if isinstance(value, dict):
            event[key] = {k: _without_secret(str(k), v) for k, v in value.items()}
        else:
            event[key] = _without_secret(key, value)
    return event


def redact_transcripts(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what callers and agent said."""
    for key in TRANSCRIPT_KEYS & event.keys():
        event[key] = REDACTED
    return event


def escape_controls(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Spell out what would steer a terminal: a caller chooses names and numbers. JSON does so by itself."""
    for key, value in event.items():
        if isinstance(value, str) and key not in ("exception", "stack"):
            event[key] = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], value)
    return event


def configure_logs(
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["json", "console"],
    *,
    transcripts: bool,
    stream: TextIO | None = None,
) -> None:
    """Set up structlog for the process; the standard library's loggers go the same way."""
    out = stream or sys.stderr
    numeric = logging.getLevelNamesMapping()[level.upper()]
    chain: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact_secrets,
    ]
    if not transcripts:
        chain.append(redact_transcripts)
    final: structlog.typing.Processor
    if format == "json":
        # A frame's locals may hold a token or a caller's words, under any name.
        traces = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        chain.append(structlog.processors.ExceptionRenderer(traces))
        final = structlog.processors.JSONRenderer()
    else:
        chain.append(escape_controls)
        final = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[*chain, final],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    bridge = logging.StreamHandler(out)
    bridge.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                final,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [bridge]
    root.setLevel(max(numeric, logging.WARNING))


def _without_secret(key: str, value: Any) -> Any:
    lowered = key.lower()
    secret = isinstance(value, str | bytes) and any(word in lowered for word in SECRET_WORDS)
    return REDACTED if secret else value
