"""E-mail to a real SMTP server on loopback: what it holds, how it is protected, and what a refusal means."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from ai_engine.config_file import ConfigError
from ai_engine.tools.call_hooks import AfterCall, CallFacts, CallRecord, HookFailed, Spoken
from ai_engine.tools.email_summary import Email, EmailOptions, make_email
from ai_engine.tools.registry import ToolServices
from ai_engine.tools.tool import ToolCallScope, ToolFailed

NASTY = "Eve\r\nBcc: all@evil.example\r\n\r\nbody\u2028x\u202e\x00"
FACTS = CallFacts("c1", "clinic", "+49170", "Ann", "700", "en", {"lookup_customer": "7"})
BEGAN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
TURNS = (Spoken("agent", "Hello."), Spoken("caller", "Grüße.\n.\nQUIT"))
RECORD = CallRecord(FACTS, "caller_hung_up", BEGAN, BEGAN + timedelta(seconds=125), TURNS)
LOGIN = {"SMTP_USER": "parley", "SMTP_PASSWORD": "s3cret"}


class Office:
    """Takes mail as aiosmtpd's handler; answers as it is told to."""

    def __init__(self) -> None:
        self.mail: list[tuple[str, list[str], EmailMessage]] = []
        self.over_tls: list[bool] = []
        self.answer = "250 OK"
        self.recipients = "250 OK"

    async def handle_RCPT(self, _smtp: SMTP, _session: Session, envelope: Envelope, address: str, _o: list[str]) -> str:
        if self.recipients.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipients

    async def handle_DATA(self, _smtp: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        if self.answer.startswith("250"):
            message = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            self.mail.append((envelope.mail_from or "", envelope.rcpt_tos, message))
            self.over_tls.append(session.ssl is not None)
        return self.answer


def login(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"parley", b"s3cret")
    return AuthResult(success=right, handled=False)


@contextlib.asynccontextmanager
async def smtp_server(office: Office, **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(office, hostname="mail.test", loop=loop, **options))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in sessions:
            if each.transport is not None:
                each.transport.close()
        await server.wait_closed()
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, chain = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return key, chain


def lines(message: EmailMessage) -> str:
    text = message.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def options(port: int, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "security": "none", "sender": "Parley <agent@office.example>",
            "to": "Front Desk <desk@office.example>", "timeout_s": 30, **more}  # fmt: skip


async def test_summary_and_transcript_come_after_the_call() -> None:
    office = Office()
    async with smtp_server(office) as port:
        chosen = options(port, to=["desk@office.example", "boss@office.example"],
                         summary={"base_url": "http://127.0.0.1:1/v1"},
                         subject="{caller_name} ({lookup_customer}), {duration_s} s")  # fmt: skip
        hook = make_email("mail", chosen, ToolServices())
        assert isinstance(hook, AfterCall)
        await hook.after_call(RECORD, "She greeted.")
        await hook.after_call(RECORD, "")
    sender, recipients, message = office.mail[0]
    assert (sender, recipients) == ("agent@office.example", ["desk@office.example", "boss@office.example"])
    assert message["Subject"] == "Ann (7), 125.0 s"
    assert message.get_content_type() == "text/plain"
    assert lines(message) == (
        "From: Ann +49170\nCalled: 700\nAnswered as: clinic\nBegan: 2026-11-20 09:30:00 +0000\n"
        "Lasted: 2:05 minutes\nEnded: caller hung up\n\nSummary\nShe greeted.\n\n"
        "Transcript\nAgent: Hello.\nCaller: Grüße. . QUIT\n"
    )
    assert message["Message-ID"] == office.mail[1][2]["Message-ID"] == "<c1.mail@office.example>"
    assert "None could be made." in office.mail[1][2].get_content()


async def test_a_message_in_the_call() -> None:
    office = Office()
    scope = ToolCallScope("c1", "clinic", "+49170", "Ann", "700", "en", None)  # type: ignore[arg-type] - not touched
    async with smtp_server(office) as port:
        tool = make_email("mail", options(port), ToolServices())
        assert (await tool.run(scope, {"message": "Call me.\n.\nBye"})).text == "The message was sent."
        office.answer = "554 no"
        with pytest.raises(ToolFailed, match="refused"):
            await tool.run(scope, {"message": "x"})
    assert lines(office.mail[0][2]) == "From: Ann +49170\nCalled: 700\n\nCall me.\n.\nBye\n"


async def test_what_a_caller_is_called_makes_no_header_and_no_recipient() -> None:
    office = Office()
    facts = CallFacts("c1", "clinic", NASTY, NASTY, NASTY, "en", {"ai_note": NASTY})
    record = CallRecord(facts, "failed", BEGAN, BEGAN, (Spoken("caller", NASTY),))
    async with smtp_server(office) as port:
        tool = make_email(
            "mail", options(port, subject="{caller_name}{caller_number}{ai_note} \ud800" * 5), ToolServices()
        )
        await tool.after_call(record, NASTY)
    _, recipients, message = office.mail[0]
    assert recipients == ["desk@office.example"]
    assert "Bcc" not in message
    assert len(message["Subject"]) <= 150
    assert set(message.keys()) == {
        "From", "To", "Subject", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
        "Message-ID", "Date",
    }  # fmt: skip
    text = message.get_content()
    assert not set("\x00\u2028\u202e") & set(text)


@pytest.mark.parametrize(
    "name", ["=?utf-8?q?Eve=0aBcc:_all=40evil.example?=", "=\0?utf-8?b?RXZlCgpib2R5?=", "=?u?q?=00?="]
)
async def test_a_name_that_is_an_encoded_word_stays_as_it_is(name: str) -> None:
    office = Office()
    facts = CallFacts("c1", "clinic", "+49170", name, "700", "en", {})
    async with smtp_server(office) as port:
        tool = make_email("mail", options(port, subject="From {caller_name}", transcript=True), ToolServices())
        await tool.after_call(CallRecord(facts, "failed", BEGAN, BEGAN, ()), "")
    message = office.mail[0][2]
    assert message["Subject"] == "From " + name.replace("\0", " ").replace("=?", "= ?")
    assert "Bcc" not in message
    assert message.get_content().startswith("From: =")


def test_a_domain_is_written_as_every_mail_server_takes_it() -> None:
    chosen = EmailOptions(**options(25, sender="Büro <desk@bücher.example>"))
    assert chosen.sender == "Büro <desk@xn--bcher-kva.example>"


async def test_the_login_is_given_over_tls_only(certificate: tuple[Path, Path]) -> None:
    key, chain = certificate
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(chain, key)
    trusting = ssl.create_default_context(cafile=str(chain))
    office = Office()
    services = ToolServices(environment=LOGIN)
    async with smtp_server(office, tls_context=served, require_starttls=True, authenticator=login) as port:
        chosen = options(port, host="localhost", security="starttls", user="SMTP_USER", password="SMTP_PASSWORD")
        await Email("mail", EmailOptions(**chosen), services, tls=trusting).after_call(RECORD, "")
        assert office.over_tls == [True]
        with pytest.raises(HookFailed, match="could not be reached"):  # nobody vouches for its certificate
            await make_email("mail", chosen, services).after_call(RECORD, "")
        wrong = ToolServices(environment={**LOGIN, "SMTP_PASSWORD": "wrong"})
        with structlog.testing.capture_logs() as logs, pytest.raises(HookFailed, match="login") as failure:
            await Email("mail", EmailOptions(**chosen), wrong, tls=trusting).after_call(RECORD, "")
        assert not failure.value.retryable
        assert "wrong" not in str(logs)
    assert len(office.mail) == 1


async def test_a_server_without_starttls_gets_nothing() -> None:
    office = Office()
    async with smtp_server(office) as port:
        with pytest.raises(HookFailed):
            await make_email("mail", options(port, security="starttls"), ToolServices()).after_call(RECORD, "")
    assert office.mail == []


REFUSALS: dict[str, tuple[str, str, bool]] = {
    "later": ("451 try later", "250 OK", True),
    "never": ("554 spam", "250 OK", False),
    "no such mailbox": ("250 OK", "550 unknown", False),
    "mailbox full": ("250 OK", "452 full", True),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_which_refusals_are_tried_again(case: str) -> None:
    office = Office()
    office.answer, office.recipients, retryable = REFUSALS[case]
    async with smtp_server(office) as port:
        with pytest.raises(HookFailed) as failure:
            await make_email("mail", options(port), ToolServices()).after_call(RECORD, "")
    assert failure.value.retryable is retryable


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    async with smtp_server(Office()) as port:
        pass
    with pytest.raises(HookFailed) as failure:
        await make_email("mail", options(port), ToolServices()).after_call(RECORD, "")
    assert failure.value.retryable


WRONG: dict[str, dict[str, Any]] = {
    "go together": {"user": "SMTP_USER"},
    "not sent unencrypted": {"host": "mail.example", "user": "SMTP_USER", "password": "SMTP_PASSWORD"},
    "nothing to send": {"transcript": False},
    "is no e-mail address": {"to": "desk@office.example\nBcc: x@evil.example"},
    "no e-mail address": {"sender": "nobody"},
    "unknown variable {transcript}": {"subject": "{transcript}"},
    "SMTP_USER is not set": {"user": "SMTP_USER", "password": "SMTP_PASSWORD"},
    "`to`": {"to": []},
    "did you mean `sender`": {"from": "x"},
}


@pytest.mark.parametrize("complaint", WRONG)
def test_what_is_wrong_in_the_configuration_is_said(complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_email("mail", options(25, **WRONG[complaint]), ToolServices())
    assert complaint in str(error.value) or "did you mean" in complaint
