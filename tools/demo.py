"""The demonstration: everything up, one real call to extension 700, the conversation printed as it happens.

`./demo.sh` makes the environment and runs this. It installs the embedded models, brings up a real Asterisk in a folder
(or uses the one that `.env` names), local_ai_server and ai_engine, places the call, and stays up until Ctrl-C.

Demonstrations on other ports run side by side: each SIP port has an Asterisk and a folder of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import platform
import secrets
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from ai_engine.config_file import ConfigError, read_document
from ai_engine.contexts import load_contexts
from ai_engine.environment import read_environment
from ai_engine.settings import OVERLAY_NAME, Settings, load_settings
from local_ai_server.catalog import UnknownModel, find_model, load_catalog
from local_ai_server.embedded import choose
from local_ai_server.settings import SettingsError, read_settings
from tools.call import CallError, NotAWav, SipCall, SipCaller, read_wav
from tools.call.caller import local_address_toward
from tools.call.measure import answer_delay_ms, voiced_segments
from tools.call.wav import Pcm
from tools.live_conversation import LiveConversation
from tools.speech import SpeechError, speak
from tools.stack import PROJECT, Ports, Stack, StackError
from tools.steps import StepError, command, progress
from tools.telephone import Telephone

T = TypeVar("T")

CONFIG = PROJECT / "config" / "ai-agent.yaml"
ENV_FILE = PROJECT / ".env"
LINES = ("What are your opening hours?", "How much is a full service?", "Great, thank you. Have a nice day!")
SIP_PORT, ARI_PORT, SERVER_PORT, ENGINE_PORT = 5060, 8088, 8765, 15000
WATCH_S = 0.2
LAST_TURN_S = 2.0
"""For the turn that was heard last to be told of."""


class DemoError(Exception):
    """The demonstration cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """What was asked for, found to be possible before anything is started."""

    settings: Settings
    environment: dict[str, str]
    recorded: list[Pcm] | None
    """What --play says, if given."""
    home: Path
    instance: str
    """Of tools/pbx."""


def plan(args: argparse.Namespace) -> Plan:
    """Everything that can be known to fail. Raises `DemoError`, `NotAWav`, `ConfigError` and `SettingsError`."""
    if args.call is not None and not any(character.isalnum() for character in args.call):
        raise DemoError('--call holds no words: give a question, for example --call "What are your opening hours?"')
    recorded = None
    if args.play is not None:
        recorded = [read_wav(args.play)]
        if not voiced_segments(recorded[0]):
            raise DemoError(f"{args.play} holds no speech that a caller could ask with: give another recording")
    if args.llm is not None:
        try:
            choose(load_catalog(), names=(), set_name="embedded", llm=args.llm)
        except UnknownModel as error:
            raise DemoError(str(error.args[0])) from None
    if args.sip is not None:
        try:
            local_address_toward(args.sip)
        except ValueError as error:
            raise DemoError(f"--sip: {error}") from None
    settings = load_settings(CONFIG, ENV_FILE)
    load_contexts(settings.contexts_folder)
    read_settings(ENV_FILE, {})
    for option, port in (("--server-port", args.server_port), ("--engine-port", args.engine_port)):
        _try_port(port, option)
    usual = (args.sip_port, args.ari_port, args.server_port, args.engine_port)
    name = "demo" if usual == (SIP_PORT, ARI_PORT, SERVER_PORT, ENGINE_PORT) else f"demo-{args.sip_port}"
    instance = "default" if name == "demo" else name
    return Plan(settings, read_environment(ENV_FILE), recorded, PROJECT / "var" / name, instance)


def _try_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DemoError(
                f"port {port} cannot be used ({reason}): end what runs there or choose another with {option}"
            ) from None


@contextlib.contextmanager
def only_one_in(home: Path) -> Iterator[None]:
    """Raises `DemoError` while another demonstration uses the folder."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"another demonstration runs in {home.relative_to(PROJECT)}: end it, or give this one ports of its own "
                "(--sip-port, --ari-port, --server-port, --engine-port)"
            ) from None
        yield


def make_stack(args: argparse.Namespace, given: Plan, telephone: Telephone) -> Stack:
    environment = {**given.environment, **telephone.variables}
    chosen = {"LOCAL_WS_AUTH_TOKEN": environment.get("LOCAL_WS_AUTH_TOKEN") or secrets.token_urlsafe(24)}
    if args.llm:
        chosen["LOCAL_LLM_MODEL_PATH"] = str(find_model(args.llm))
    overlay = CONFIG.with_name(OVERLAY_NAME)
    return Stack(
        given.home,
        environment,
        ports=Ports(
            server=args.server_port,
            engine=args.engine_port,
            media_first=given.settings.media.ports.first if given.instance == "default" else 0,
            media_count=100,
        ),
        config=read_document(overlay).data if overlay.exists() else {},
        contexts=given.settings.contexts_folder.resolve(),
        environment=chosen,
        stop_deadline_s=6.0,
    )


async def place_call(sip_uri: str, lines: list[Pcm], recording: Path) -> list[float]:
    """Speak `lines`, each when the agent has finished; returns the answer delays as the caller heard them, in ms."""
    async with SipCaller(local_address=local_address_toward(sip_uri)) as caller, caller.dial(sip_uri) as call:
        await call.wait_for_agent(timeout_s=20.0)
        await call.wait_for_silence(700)
        delays = [await ask(call, line) for line in lines]
        partial = recording.with_suffix(".part")
        call.save(partial)
        partial.replace(recording)
    return delays


async def ask(call: SipCall, line: Pcm) -> float:
    """Milliseconds from the last voiced sample of `line` to the first of the answer."""
    utterance = call.play(line)
    begun_s = time.monotonic()
    await utterance.sent()
    await call.wait_for_agent(timeout_s=20.0, since_s=begun_s + len(line) / 8000)
    await call.wait_for_silence(900)
    sides = call.recording
    return answer_delay_ms(sides.caller, sides.agent, after_s=begun_s - sides.begin_s)


async def speak_lines(args: argparse.Namespace, stack: Stack) -> list[Pcm]:
    texts = LINES if args.call is None else (args.call,)
    url = stack.server_url.replace("http", "ws", 1)
    token = stack.environment["LOCAL_WS_AUTH_TOKEN"]
    return [await speak(url, text, token=token, cache=PROJECT / "var" / "speech") for text in texts]


async def demonstrate(args: argparse.Namespace, given: Plan) -> int:
    begun = time.monotonic()
    words = ["--llm", args.llm] if args.llm else []
    await command(sys.executable, "-m", "local_ai_server.embedded", "install", "--set", "embedded", *words)
    async with contextlib.AsyncExitStack() as owned:
        owned.enter_context(only_one_in(given.home))
        if given.environment.get("ASTERISK_HOST"):
            telephone = await Telephone.of_env(given.settings.asterisk, given.environment, args.sip)
        else:
            telephone = await Telephone.in_folder(given.instance, args.sip_port, args.ari_port, args.bind)
        owned.push_async_callback(telephone.close)
        stack = make_stack(args, given, telephone)
        for log in (stack.server.log, stack.engine.log):
            log.unlink(missing_ok=True)
        progress(f"starting local_ai_server and ai_engine on Python {platform.python_version()}: models are loaded …")
        await stack.start(tell=lambda reason: progress(f"… {reason}"))
        owned.push_async_callback(stack.stop)
        progress(f"ready after {time.monotonic() - begun:.1f} s; logs are in {given.home.relative_to(PROJECT)}")
        conversation = LiveConversation(stack.engine_url, given.settings.http.token.get_secret_value())
        printer = asyncio.create_task(conversation.follow(), name="print the conversation")
        owned.push_async_callback(end, printer)
        await while_all_run(stack, talk(args, given, telephone, stack, conversation))
        if args.once:
            return 0
        progress(f"staying up: dial {telephone.sip_uri} from a softphone on this machine; Ctrl-C ends it")
        args.staying = True  # from here on Ctrl-C is the ordinary end
        await while_all_run(stack, asyncio.Event().wait())
    return 0


async def talk(
    args: argparse.Namespace, given: Plan, telephone: Telephone, stack: Stack, conversation: LiveConversation
) -> None:
    """The call. Raises `CallError` when a question was not answered."""
    lines = given.recorded or await speak_lines(args, stack)
    recording = given.home / "call.wav"
    recording.unlink(missing_ok=True)
    progress(f"calling {telephone.sip_uri}")
    delays = await place_call(telephone.sip_uri, lines, recording)
    deadline = time.monotonic() + LAST_TURN_S
    while conversation.answers < len(lines) and time.monotonic() < deadline:  # noqa: ASYNC110 - two ends
        await asyncio.sleep(WATCH_S)
    await asyncio.sleep(WATCH_S)  # so that the end of the call is printed above what follows
    progress(f"both sides are in {recording.relative_to(PROJECT)} (caller left, agent right)")
    if conversation.answers < len(lines):
        raise CallError(f"{conversation.answers} of {len(lines)} questions were answered")
    progress(f"the caller heard each answer begin after {', '.join(f'{delay:.0f}' for delay in delays)} ms")


async def while_all_run(stack: Stack, work: Coroutine[Any, Any, T]) -> T:
    """Do `work`; raises `StackError` as soon as server or engine has ended."""
    working = asyncio.create_task(work)
    try:
        while not working.done():
            for part in (stack.server, stack.engine):
                if not part.running:
                    raise StackError(f"{part.name} has ended unexpectedly: {part.complaint()}")
            await asyncio.wait((working,), timeout=WATCH_S)
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
        await task


async def until_stopped(args: argparse.Namespace, given: Plan) -> int:
    """Run the demonstration; Ctrl-C or SIGTERM ends whatever it is doing and gives everything back."""
    task = asyncio.create_task(demonstrate(args, given))
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if task.cancelling():
            progress("already ending …")
        else:
            progress("ending: live calls get a farewell …")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked)
    try:
        return await task
    except asyncio.CancelledError:
        progress("ended")
        return 0 if args.staying else 130


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./demo.sh", description="A caller dials 700 and talks with a local agent, on this machine alone."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--call", metavar="QUESTION", help="ask this instead, spoken by the local voice")
    what.add_argument("--play", metavar="WAV", type=Path, help="ask with this recording instead")
    parser.add_argument("--once", action="store_true", help="end after the call; exit code 1 if no answer was heard")
    parser.add_argument("--llm", metavar="NAME", help="another language model of the catalogue (see embedded --list)")
    parser.add_argument("--bind", metavar="ADDRESS", help="let softphones on this network address dial too")
    parser.add_argument("--sip", metavar="URI", help="what to dial on the Asterisk of .env [sip:700@HOST:5060]")
    parser.add_argument("--sip-port", type=int, default=SIP_PORT, help="of the Asterisk in a folder [%(default)s]")
    parser.add_argument("--ari-port", type=int, default=ARI_PORT, help="of the Asterisk in a folder [%(default)s]")
    parser.add_argument("--server-port", type=int, default=SERVER_PORT, help="of local_ai_server [%(default)s]")
    parser.add_argument("--engine-port", type=int, default=ENGINE_PORT, help="of ai_engine's pages [%(default)s]")
    parser.set_defaults(staying=False)
    args = parser.parse_args(argv)
    if args.play is not None:
        args.play = args.play.absolute()
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    os.chdir(PROJECT)
    code = 1
    home = "var/demo"
    try:
        given = plan(args)
        home = str(given.home.relative_to(PROJECT))
        code = asyncio.run(until_stopped(args, given))
    except (DemoError, StepError, StackError, ConfigError, SettingsError, SpeechError, NotAWav) as error:
        print(f"[demo] error: {error}", file=sys.stderr)
    except CallError as error:
        print(f"[demo] error: the agent was not heard answering: {error}", file=sys.stderr)
        print(f"[demo] look into {home}/engine.log and server.log", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
