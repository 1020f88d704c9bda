"""The delay of the telephone path alone: what an extension that runs Echo() plays back, against what was said.

python -m tools.call.calibrate sip:600@127.0.0.1:5060
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys

import numpy as np

from tools.call.call import CallError, SipCall
from tools.call.caller import SipCaller, local_address_toward
from tools.call.measure import NothingHeard, lag_ms, likeness
from tools.call.wav import RATE_HZ, Pcm


def burst(duration_ms: float = 200, *, level: float = 0.25, seed: int = 1) -> Pcm:
    """Noise with speech's bandwidth whose autocorrelation has one sharp peak."""
    noise = np.random.default_rng(seed).standard_normal(int(duration_ms * RATE_HZ / 1000))
    return np.clip(noise * level * 10000, -32000, 32000).astype(np.int16)


async def echo_delays_ms(call: SipCall, bursts: int = 5) -> list[float]:
    """The round trip of each of several bursts on a call that echoes."""
    delays: list[float] = []
    for index in range(bursts):
        utterance = call.play(burst(seed=index + 1))
        begin_s = (await utterance.sent()) - len(utterance.pcm) / RATE_HZ
        await asyncio.sleep(0.4)
        sent, heard = call.tracks
        end_s = begin_s + 0.6
        said, came_back = sent.render(begin_s, end_s), heard.render(begin_s, end_s)
        delays.append(lag_ms(said, came_back, limit_ms=400))
        if likeness(said, came_back, delays[-1]) < 0.5:
            raise NothingHeard("what comes back is not what was said: that extension does not echo")
        await asyncio.sleep(0.007 * (index + 1))  # another phase of the 20 ms clock each time
    return delays


async def echo_delay_ms(uri: str, *, bursts: int = 5) -> float:
    """Median round trip caller → PBX → caller of an extension that runs Echo()."""
    async with SipCaller(local_address=local_address_toward(uri)) as caller, caller.dial(uri) as call:
        return statistics.median(await echo_delays_ms(call, bursts))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.call.calibrate", description=__doc__.split("\n")[0])
    parser.add_argument("uri", nargs="?", default="sip:600@127.0.0.1:5060")
    parser.add_argument("--bursts", type=int, default=5)
    arguments = parser.parse_args()
    try:
        print(f"{asyncio.run(echo_delay_ms(arguments.uri, bursts=arguments.bursts)):.1f} ms")
    except (CallError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
