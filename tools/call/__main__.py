"""Place a scripted call: `python -m tools.call --to sip:700@127.0.0.1:5060 --play question.wav --record call.wav`.

Exit code 0: the call went as asked; 1: it was refused, or ended before its script; 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from tools.call.call import CallEnded, CallError, SipCall, WaitTimedOut
from tools.call.caller import SipCaller, local_address_toward
from tools.call.measure import answer_delay_ms, voiced_segments
from tools.call.wav import NotAWav, Pcm, read_wav


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.call", description=__doc__.split(":")[0])
    parser.add_argument("--to", default="sip:700@127.0.0.1:5060", help="SIP URI (%(default)s)")
    parser.add_argument(
        "--play",
        action="append",
        default=[],
        type=Path,
        metavar="WAV",
        help="say this, then let the agent answer; may be given several times",
    )
    parser.add_argument("--record", type=Path, metavar="WAV", help="stereo: caller left, agent right")
    parser.add_argument("--seconds", type=float, default=60, help="hang up after this long at the latest (%(default)s)")
    parser.add_argument(
        "--greeting", type=float, default=0, metavar="S", help="wait up to S seconds for a greeting before speaking"
    )
    parser.add_argument(
        "--answer", type=float, default=20, metavar="S", help="wait so long for an answer (%(default)s)"
    )
    parser.add_argument("--silence-ms", type=float, default=1000, help="so long quiet: the agent is done (%(default)s)")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="an INVITE header")
    parser.add_argument("--dtmf", default="", help="keys to press before speaking")
    parser.add_argument("--user", default="caller", help="the caller's number or login (%(default)s)")
    parser.add_argument("--password-file", type=Path, help="for a PBX that wants one")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of sentences")
    return parser.parse_args()


async def _script(call: SipCall, speeches: list[Pcm], arguments: argparse.Namespace) -> list[float]:
    """Run the call and return when each question began, in seconds of its recording."""
    begins: list[float] = []
    if arguments.greeting:
        await call.wait_for_agent(100, arguments.greeting, since_s=call.answered_s)
        await call.wait_for_silence(arguments.silence_ms, arguments.seconds)
    if arguments.dtmf:
        await call.send_dtmf(arguments.dtmf)
    for speech in speeches:
        utterance = call.play(speech)
        end_s = await utterance.sent()
        begins.append((utterance.begin_s or end_s) - call.recording.begin_s)
        await call.wait_for_agent(100, arguments.answer, since_s=end_s)
        await call.wait_for_silence(arguments.silence_ms, arguments.seconds)
    if not speeches:
        await call.wait_ended(arguments.seconds)
    return begins


async def _run(arguments: argparse.Namespace, speeches: list[Pcm], headers: dict[str, str]) -> int:
    password = arguments.password_file.read_text().strip() if arguments.password_file else ""
    begun_s = time.monotonic()
    trouble, begins = "", list[float]()
    async with SipCaller(
        user=arguments.user, password=password, local_address=local_address_toward(arguments.to)
    ) as caller:
        async with caller.dial(arguments.to, headers=headers) as call:
            try:
                async with asyncio.timeout(arguments.seconds):
                    begins = await _script(call, speeches, arguments)
            except TimeoutError:
                pass  # --seconds are over, as asked
            except WaitTimedOut as error:
                trouble = str(error) if speeches else ""
            except CallEnded as error:
                trouble = str(error)
        recording = call.recording
    if arguments.record:
        recording.save(arguments.record)
    delays = []
    for begin_s in begins:
        try:
            delays.append(round(answer_delay_ms(recording.caller, recording.agent, after_s=begin_s - 0.05)))
        except ValueError as error:
            trouble = trouble or str(error)
    result = {
        "to": arguments.to,
        "answered_after_ms": round(call.answer_ms or 0, 1),
        "seconds": round(time.monotonic() - begun_s, 2),
        "ended": call.end_reason,
        "agent_spoke_s": round(sum(s.duration_ms for s in voiced_segments(recording.agent)) / 1000, 2),
        "answer_delays_ms": delays,
        "record": str(arguments.record) if arguments.record else None,
        "trouble": trouble or None,
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"answered after {result['answered_after_ms']} ms, {call.end_reason} after {result['seconds']} s")
        print(f"the agent spoke {result['agent_spoke_s']} s; answers began after {delays or 'no'} ms")
        if trouble:
            print(trouble, file=sys.stderr)
    return 1 if trouble else 0


def main() -> int:
    """Parse the command line, place the call, report."""
    arguments = _arguments()
    headers = dict(header.partition("=")[::2] for header in arguments.header)
    try:
        speeches = [read_wav(path) for path in arguments.play]
        return asyncio.run(_run(arguments, speeches, headers))
    except (NotAWav, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
