"""Stands for kroko-onnx-online-websocket-server, which does not install here, and for Kroko's hosted server.

Follows the server's README, "WebSocket Server Format": 16 kHz float32 in, JSON of partial and final segments out; and
its options --port, --model, --key. A word for every 100 ms that are loud; 300 ms of quiet end a segment; "Done" ends
the last one and the connection, as in sherpa-onnx, whose fork it is. Run as a program it is the binary.
"""

import argparse
import json
import os
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.sync.server import serve

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
FRAME = 1600


class Listener:
    """One connection."""

    def __init__(self, connection, *, hosted=False):
        self.connection = connection
        self.hosted = hosted
        self.samples = np.zeros(0, np.float32)
        self.segment = self.words = self.quiet = 0

    def run(self):
        if self.hosted:
            self.connection.send(json.dumps({"type": "connected", "id": "session-1"}))
        for message in self.connection:
            if isinstance(message, str):
                assert message == "Done", message
                self.say("final")
                self.connection.send("Done!")
                return
            samples = np.frombuffer(message, "<f4")
            assert np.abs(samples).max(initial=0) <= 1.0, "full scale is 1"
            assert samples.size <= 4 * 16_000, "four seconds at most"
            self.hear(samples)

    def hear(self, samples):
        self.samples = np.concatenate((self.samples, samples))
        n = self.samples.size // FRAME
        for frame in self.samples[: n * FRAME].reshape(n, FRAME):
            if np.sqrt(np.mean(frame**2)) > 0.02:
                self.words += 1
                self.quiet = 0
                self.say("partial")
            else:
                self.quiet += 1
                if self.words and self.quiet == 3:
                    self.say("final")
                    self.segment, self.words = self.segment + 1, 0
        self.samples = self.samples[n * FRAME :]

    def say(self, kind):
        text = " ".join(WORDS[i % len(WORDS)] for i in range(self.words))
        elements = {"segments": [], "words": []}
        said = {"type": kind, "text": text, "segment": self.segment, "startedAt": 0.0, "elements": elements}
        self.connection.send(json.dumps(said))


def hosted(port, *, key, seen):
    """A server like the hosted one, which notes the addresses it was asked for."""

    def admit(connection, request):
        seen.append(request.path)
        query = parse_qs(urlsplit(request.path).query)
        if query.get("apiKey") != [key]:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "no key\n")
        return None

    return serve(lambda c: Listener(c, hosted=True).run(), "127.0.0.1", port, process_request=admit, compression=None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="")
    arguments = parser.parse_args()
    if Path(arguments.model).read_text(encoding="utf-8") != "a model":
        sys.exit("cannot read the model")
    with Path(f"{arguments.model}.pids").open("a", encoding="utf-8") as pids:
        pids.write(f"{os.getpid()} {arguments.port} {arguments.key}\n")
    with serve(lambda c: Listener(c).run(), "127.0.0.1", arguments.port, compression=None) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
