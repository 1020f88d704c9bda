"""`email`: sends what was said to the office: after the call, when the model is asked to, or a message that was left.

Sender and recipients are the configuration's alone. What callers say stands in the subject, as one line, and in the
body, as plain text; no header and no address is made of it.
"""

from __future__ import annotations

import asyncio
import ssl
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import aiosmtplib
import structlog
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ai_engine.config_file import ConfigError
from ai_engine.messages.voice_message import VoiceMessage
from ai_engine.providers.components.options import Options, read_options
from ai_engine.settings import is_loopback
from ai_engine.templates import CALL_VARIABLES
from ai_engine.tools.call_hooks import AFTER_CALL_VARIABLES, CallRecord, HookFailed
from ai_engine.tools.call_summary import SummaryOptions, checked_summary
from ai_engine.tools.request_template import RequestTemplateError, Text, as_text
from ai_engine.tools.tool import ToolCallScope, ToolFailed, ToolResult, ToolSpec

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

log = structlog.get_logger(__name__)

_MAX_SUBJECT_CHARS: Final = 150
_MAX_BODY_CHARS: Final = 200_000
_SUBJECT_VARIABLES: Final = frozenset(
    {*CALL_VARIABLES, "context", "language", *(AFTER_CALL_VARIABLES - {"transcript", "turns"})}
)
_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1, "maxLength": 4000, "description": "What is to be passed on."}
    },
    "required": ["message"],
    "additionalProperties": False,
}
_VariableName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


def _mailbox(value: str) -> str:
    wrong = f"{value!r} is no e-mail address; write office@example.com or Office <office@example.com>"
    if not value.isprintable():
        raise ValueError(wrong)
    header: Any = HeaderRegistry()("To", value)
    found = header.addresses
    if header.defects or len(found) != 1 or not (found[0].username and found[0].domain):
        raise ValueError(wrong)
    try:  # as any mail server takes it, also one that knows no SMTPUTF8
        domain = found[0].domain.encode("idna").decode()
    except UnicodeError:
        raise ValueError(wrong) from None
    return str(Address(found[0].display_name, found[0].username, domain))


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Mailbox = Annotated[str, AfterValidator(_mailbox)]


class EmailOptions(BaseModel):
    """Over which server, from whom, to whom, and what is in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    """The mail server."""
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`: encrypted after the greeting (port 587). `tls`: from the start (465). `none`: not at all."""
    user: _VariableName | None = None
    """The environment variable with the login's name, as in SMTP_USER. Absent: no login."""
    password: _VariableName | None = None
    """The environment variable with its password."""
    sender: Mailbox
    to: Annotated[tuple[Mailbox, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
    subject: str = "Call from {caller_number}"
    """May hold variables."""
    transcript: bool = True
    """False: the e-mail after a call has the summary alone."""
    summary: SummaryOptions | None = None
    """Who makes the summary; absent: there is none."""
    max_attachment_mb: float = Field(default=10.0, ge=0, le=100)
    """A message that a caller has left is attached as a WAV file up to this size; else the e-mail names the file."""
    timeout_s: float = Field(default=20.0, gt=0, le=120)

    @model_validator(mode="after")
    def _consistent(self) -> EmailOptions:
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` go together")
        if self.security == "none" and self.user is not None and not is_loopback(self.host):
            raise ValueError("a password is not sent unencrypted to another machine: use `security: starttls` or `tls`")
        if not self.transcript and self.summary is None:
            raise ValueError("has nothing to send: neither `transcript` nor `summary`")
        return self


class Email:
    """One configured way of sending; shared by all calls."""

    def __init__(
        self, name: str, options: EmailOptions, services: ToolServices, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls`: with which certificates the server is checked; None: the system's. Raises `ConfigError`."""
        self._name = name
        self._options = options
        self._tls = tls
        what = f"tools.{name}.options"
        try:
            self._subject = Text.parse(options.subject)
        except RequestTemplateError as error:
            raise ConfigError(f"{what}: `subject`: {error}") from None
        unknown = sorted(self._subject.variables - _SUBJECT_VARIABLES)
        if unknown := [name for name in unknown if not name.startswith(("ai_", "lookup_"))]:
            known = ", ".join(sorted(_SUBJECT_VARIABLES))
            raise ConfigError(f"{what}: `subject`: unknown variable {{{unknown[0]}}}; there are {known}")
        self._user = _secret(what, options.user, services.environment)
        self._password = _secret(what, options.password, services.environment)
        self.summary = checked_summary(options.summary, services, what)
        self.spec = ToolSpec(
            name,
            "Sends a message of the caller to the office by e-mail.",
            _PARAMETERS,
        )
        self.timeout_s = options.timeout_s

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        values = {
            **call.variables,
            "call_id": call.call_id,
            "context": call.context,
            "caller_number": call.caller_number,
            "caller_name": call.caller_name,
            "dialed_number": call.dialed_number,
            "language": call.language,
        }
        facts = _facts(("From", call.caller_name, call.caller_number), ("Called", call.dialed_number))
        email = self._email(values, f"{facts}\n\n{arguments['message']}\n")
        try:
            await self._send(email)
        except HookFailed as error:
            raise ToolFailed(str(error)) from None
        return ToolResult("The message was sent.")

    async def after_call(self, record: CallRecord, summary: str) -> None:
        """Raises `HookFailed`."""
        call = record.call
        minutes, seconds = divmod(round((record.ended_at - record.began_at).total_seconds()), 60)
        parts = [
            _facts(
                ("From", call.caller_name, call.caller_number),
                ("Called", call.dialed_number),
                ("Answered as", call.context),
                ("Began", f"{record.began_at:%Y-%m-%d %H:%M:%S %z}"),
                ("Lasted", f"{minutes}:{seconds:02d} minutes"),
                ("Ended", record.outcome.replace("_", " ")),
            )
        ]
        if self._options.summary is not None:
            parts.append(f"Summary\n{summary or 'None could be made.'}")
        if self._options.transcript:
            parts.append(f"Transcript\n{record.transcript() or 'Nothing was said.'}")
        email = self._email(record.values(summary), "\n\n".join(parts) + "\n")
        self._identify(email, call.call_id, record.ended_at)
        await self._send(email)

    async def deliver_message(self, message: VoiceMessage, sound: Path) -> None:
        """Raises `HookFailed`."""
        call = message.call
        facts = _facts(
            ("From", call.caller_name, call.caller_number),
            ("Called", call.dialed_number),
            ("Left", f"{message.left_at:%Y-%m-%d %H:%M:%S %z}"),
            ("Lasts", f"{message.seconds:.0f} seconds"),
            ("File", message.file),
        )
        content = await asyncio.to_thread(_read, sound, round(self._options.max_attachment_mb * 1e6))
        notes = [] if message.whole else ["Not all of it could be transcribed."]
        if content is None:
            notes.append("The recording is not attached: it is too large, or was deleted.")
        body = "\n\n".join([facts, message.transcript or "(no words were understood)", *notes])
        email = self._email(message.values(), body + "\n")
        if content is not None:
            attach = partial(email.add_attachment, content, maintype="audio", subtype="wav")
            await asyncio.to_thread(attach, filename=Path(message.file).name)
        self._identify(email, message.id, message.left_at)
        await self._send(email)

    def _identify(self, email: EmailMessage, id: str, at: datetime) -> None:
        """The same each time it is tried, so that a mail server that got it twice can tell."""
        domain = parseaddr(self._options.sender)[1].rpartition("@")[2]
        email["Message-ID"] = f"<{id}.{self._name}@{domain}>"
        email["Date"] = format_datetime(at)

    def _email(self, values: Mapping[str, Any], body: str) -> EmailMessage:
        email = EmailMessage(SMTP)
        email["From"] = self._options.sender
        email["To"] = ", ".join(self._options.to)
        subject = self._subject.fill(lambda name: as_text(values.get(name)))
        email["Subject"] = _subject(subject) or "A call"
        email["Auto-Submitted"] = "auto-generated"
        email.set_content(_clean(body, keep="\n")[:_MAX_BODY_CHARS], charset="utf-8", cte="base64")
        return email

    async def _send(self, email: EmailMessage) -> None:
        """Raises `HookFailed`."""
        options = self._options
        content = await asyncio.to_thread(email.as_bytes)  # of a long recording this takes a while
        try:
            refused, _ = await aiosmtplib.send(
                content,
                sender=parseaddr(options.sender)[1],
                recipients=[parseaddr(recipient)[1] for recipient in options.to],
                hostname=options.host,
                port=options.port,
                username=self._user,
                password=self._password,
                use_tls=options.security == "tls",
                start_tls=options.security == "starttls",
                tls_context=self._tls,
                timeout=options.timeout_s,
            )
        except aiosmtplib.SMTPAuthenticationError as error:
            raise self._failed(error, "the mail server does not take the login", retryable=False) from None
        except aiosmtplib.SMTPResponseException as error:
            told = f"the mail server refused it with code {error.code}"
            raise self._failed(error, told, retryable=400 <= error.code < 500) from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refusal.code for refusal in error.recipients]
            told = "the mail server takes mail for none of the recipients"
            raise self._failed(error, told, retryable=all(400 <= code < 500 for code in codes)) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._failed(error, "the mail server could not be reached", retryable=True) from None
        if refused:
            log.warning("email_recipients_refused", tool=self._name, refused=len(refused))

    def _failed(self, error: Exception, told: str, *, retryable: bool) -> HookFailed:
        log.warning("email_not_sent", tool=self._name, host=self._options.host, kind=type(error).__name__, error=told)
        return HookFailed(told, retryable=retryable)


def make_email(name: str, options: Options, services: ToolServices) -> Email:
    """Raises `ConfigError`."""
    return Email(name, read_options(EmailOptions, options, f"tools.{name}.options"), services)


def _secret(what: str, variable: str | None, environment: Mapping[str, str]) -> str | None:
    if variable is None:
        return None
    value = environment.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{what}: {variable} is not set: set it in .env")
    return value


def _facts(*lines: tuple[str, ...]) -> str:
    """`name: values`, a line each, where there are any."""
    rows = [(name, " ".join(value for value in values if value)) for name, *values in lines]
    return "\n".join(f"{name}: {' '.join(value.split())}" for name, value in rows if value)


def _read(file: Path, most_bytes: int) -> bytes | None:
    """None where it is larger, or is not there any more. Blocks."""
    try:
        with file.open("rb") as opened:
            content = opened.read(most_bytes + 1)
    except OSError:
        return None
    return content if len(content) <= most_bytes else None


def _subject(text: str) -> str:
    """One line. The e-mail package would decode an encoded word (RFC 2047) in it, line breaks and all."""
    return " ".join(_clean(text).split()).replace("=?", "= ?")[:_MAX_SUBJECT_CHARS]


def _clean(text: str, keep: str = "") -> str:
    """Without controls, format marks and lone surrogates (categories C*), but for those of `keep`."""
    return "".join(c if c in keep or unicodedata.category(c)[0] != "C" else " " for c in text)
