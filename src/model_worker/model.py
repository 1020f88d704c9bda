"""What a class must be to run in a worker process.

    class Echo:
        def load(self, *, greeting: str) -> None:
            self.greeting = greeting

        def greet(self, body: bytes, cancelled: Cancelled, *, name: str) -> Answer:
            return {"text": f"{self.greeting} {name}"}, b""

        def count(self, body: bytes, cancelled: Cancelled, *, to: int) -> Iterator[Answer]:
            for i in range(to):
                yield {"i": i}, b""

Every public method other than `load` and `unload` can be called by name, with the request's body, the cancel token and
the request's `args` as keywords. A plain method returns its answer. A generator yields one answer per chunk, and may
return a last one. What a method raises reaches the caller as `CallFailed`, and the worker goes on.

An engine that a model starts as a process stays in the worker's process group and is ended with it. The kernel may end
the worker alone, when the parent is killed: start the engine under `setpriv --pdeathsig KILL`, and it goes too.

With `concurrency` above 1 several methods run at once, each on its own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

Cancelled = threading.Event
"""Set when nobody wants the call any more. Look at it (`is_set`) wherever native code lets you, then just return.

Between the chunks of a generator the worker looks itself, and closes the generator.
"""

Answer = tuple[Mapping[str, Any], bytes]
"""A JSON object and raw bytes: audio, or nothing."""


class Model(Protocol):
    """A model; built without arguments in its own process, then loaded once. May have `unload(self) -> None`."""

    def load(self, **settings: Any) -> None:
        """Reads the weights. What it raises fails the start of the worker."""
