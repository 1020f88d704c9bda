"""A scripted SIP caller for the demonstration, the tests and the benchmarks."""

from tools.call.call import CallEnded, CallError, CallRefused, Recording, SipCall, WaitTimedOut
from tools.call.caller import SipCaller
from tools.call.media import Utterance
from tools.call.phone import IncomingCall, SipPhone
from tools.call.wav import NotAWav, read_wav, write_wav

__all__ = [
    "CallEnded",
    "CallError",
    "CallRefused",
    "IncomingCall",
    "NotAWav",
    "Recording",
    "SipCall",
    "SipCaller",
    "SipPhone",
    "Utterance",
    "WaitTimedOut",
    "read_wav",
    "write_wav",
]
