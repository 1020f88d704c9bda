"""Logs: one JSON object a line, the call's id on it, secrets and (by option) words blanked."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from ai_engine.logs import REDACTED, configure_logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_is_json_with_the_calls_id() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", transcripts=True, stream=stream)
    with structlog.contextvars.bound_contextvars(call_id="c1"):
        structlog.get_logger().info("caller_turn", text="hello")
    structlog.get_logger().debug("not shown")
    (line,) = written(stream)
    assert (line["event"], line["call_id"], line["text"], line["level"]) == ("caller_turn", "c1", "hello", "info")


def test_secrets_never_appear() -> None:
    stream = io.StringIO()
    configure_logs("debug", "json", transcripts=True, stream=stream)
    structlog.get_logger().info("x", ari_password="p1", auth_token="p2", headers={"Authorization": "p3", "A": "b"})
    assert not any(secret in stream.getvalue() for secret in ("p1", "p2", "p3"))
    assert written(stream)[0]["headers"] == {"Authorization": REDACTED, "A": "b"}


def test_figures_about_tokens_are_no_secrets() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", transcripts=True, stream=stream)
    structlog.get_logger().info("agent_turn", timeline_ms={"llm_first_token": 412.5}, prompt_tokens=80)
    assert written(stream)[0]["timeline_ms"] == {"llm_first_token": 412.5}
    assert written(stream)[0]["prompt_tokens"] == 80


def test_transcripts_are_blanked_on_request() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", transcripts=False, stream=stream)
    structlog.get_logger().info("caller_turn", text="my card number is", turn=1)
    (line,) = written(stream)
    assert (line["text"], line["turn"]) == (REDACTED, 1)


def test_other_libraries_log_through_the_same_door() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", transcripts=True, stream=stream)
    logging.getLogger("somebody").warning("odd thing %d", 7)
    logging.getLogger("somebody").info("chatter")
    (line,) = written(stream)
    assert line["event"] == "odd thing 7"


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_trace_does_not_show_what_its_frames_hold(format: Literal["json", "console"]) -> None:
    def connect(token: str) -> None:
        raise ValueError(f"no answer to {len(token)} letters")

    stream = io.StringIO()
    configure_logs("info", format, transcripts=True, stream=stream)
    secret = "-".join(("open", "sesame"))
    try:
        connect(secret)
    except ValueError:
        structlog.get_logger().exception("broke")
    assert "no answer to 11 letters" in stream.getvalue()
    assert secret not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_callers_name_neither_steers_a_terminal_nor_begins_a_line(log_format: Literal["json", "console"]) -> None:
    out = io.StringIO()
    configure_logs("info", log_format, transcripts=True, stream=out)
    structlog.get_logger().info("call_started", channel="PJSIP/\x1b]0;x\x07\x9b2J", dialed="1\u2028\u202e\ncall_ended")
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert "call_ended" in line
