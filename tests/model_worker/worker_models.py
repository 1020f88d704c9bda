"""Small models that behave and misbehave, run by the tests in real child processes."""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


class Echo:
    """Does what it is told, within one process's reach."""

    def load(self, *, greeting: str = "hello", note: str = "", print_on_load: str = "") -> None:
        self.greeting = greeting
        self.order: list[str] = []
        self.note = note
        if print_on_load:
            print(print_on_load)

    def unload(self) -> None:
        if self.note:
            Path(self.note).write_text("unloaded")

    def echo(self, body, cancelled, **args):
        return args, body

    def greet(self, body, cancelled, *, name):
        return {"text": f"{self.greeting} {name}"}, b""

    def count(self, body, cancelled, *, to, pause_s=0.0):
        for i in range(to):
            yield {"i": i}, bytes([i % 256])
            time.sleep(pause_s)
        return {"counted": to}, b"!"

    def forever(self, body, cancelled):
        """A generator that never looks at its token."""
        try:
            i = 0
            while True:
                yield {"i": i}, b""
                i += 1
                time.sleep(0.01)
        finally:
            self.order.append("closed")

    def until_cancelled(self, body, cancelled):
        self.order.append("began")
        cancelled.wait(30)
        self.order.append("cancelled")
        return {}, b""

    def mark(self, body, cancelled, *, name, seconds=0.0):
        time.sleep(seconds)
        self.order.append(name)
        return {}, b""

    def marks(self, body, cancelled):
        return {"order": self.order}, b""

    def environment(self, body, cancelled):
        names = ("OMP_NUM_THREADS", "EXTRA", "PYTHONPATH")
        return {"env": {n: os.environ.get(n) for n in names}, "nice": os.nice(0), "cwd_on_path": "" in sys.path}, b""

    def fail(self, body, cancelled):
        raise ValueError("no such voice")

    def bad_answer(self, body, cancelled, *, what):
        return {"none": 3, "not_json": ({"x": object()}, b""), "no_body": {"x": 1}}[what]

    def busy(self, body, cancelled, *, seconds):
        """Native code that cannot be interrupted, GIL released."""
        time.sleep(seconds)
        return {}, b""

    def abort(self, body, cancelled):
        print("about to go wrong", file=sys.stderr)
        os.abort()

    def leave(self, body, cancelled, *, status):
        os._exit(status)

    def garbage(self, body, cancelled, *, data):
        os.write(int(sys.argv[sys.argv.index("--fd") + 1]), bytes.fromhex(data))
        time.sleep(30)

    def start_engine(self, body, cancelled):
        """A managed engine: a process of the worker's own."""
        self.engine = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "sleep", "60"])
        return {"pid": self.engine.pid}, b""

    def _secret(self, body, cancelled):
        return {}, b""


class HangsAtLoad:
    def load(self) -> None:
        print("reading weights", file=sys.stderr)
        time.sleep(60)


class FailsToLoad:
    def load(self, *, path: str) -> None:
        raise FileNotFoundError(f"no weights at {path}; run the installer")


class DiesAtLoad:
    def load(self) -> None:
        print("illegal instruction ahead", file=sys.stderr)
        os.abort()


class DeafCanary:
    """The canary works `good` times, as counted in a file over all lives, then hangs."""

    def load(self, *, path: str, good: int) -> None:
        self.path, self.good = path, good

    def sing(self, body, cancelled):
        with Path(self.path).open("a+") as file:
            file.write("x")
            file.seek(0)
            lives = len(file.read())
        if self.good < lives <= self.good + 1:
            time.sleep(60)
        return {}, b""

    def abort(self, body, cancelled):
        os.abort()


class Heavy:
    """Claims memory and really touches it; starts an engine that does the same."""

    def load(self, *, mebibytes: int = 0, threads: int = 0) -> None:
        self.weights = bytearray(os.urandom(4096) * (256 * mebibytes))
        self.pools = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(threads)]
        for thread in self.pools:
            thread.start()
        self.priority_at_load = self._priority()

    def grow(self, body, cancelled, *, mebibytes):
        self.more = bytearray(os.urandom(4096) * (256 * mebibytes))
        return {}, b""

    def wait(self, body, cancelled):
        cancelled.wait(60)
        return {}, b""

    def too_much(self, body, cancelled):
        return {"length": len(bytearray(1 << 60))}, b""

    def start_engine(self, body, cancelled, *, mebibytes):
        program = f"x = bytearray({mebibytes} << 20); print('up', flush=True); import time; time.sleep(60)"
        self.engine = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        self.engine.stdout.readline()
        return {"pid": self.engine.pid}, b""

    def priorities(self, body, cancelled):
        """At the load, and now."""
        return {"load": self.priority_at_load, "now": self._priority()}, b""

    def oom_score_adj(self, body, cancelled):
        return {"value": int(Path("/proc/self/oom_score_adj").read_text())}, b""

    def _priority(self):
        tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        try:
            session = int(Path("/proc/self/autogroup").read_text().rpartition("nice ")[2])
        except OSError:
            session = None
        return {"idle_threads": sum(os.sched_getscheduler(task) == os.SCHED_IDLE for task in tasks), "session": session}


class Visitor:
    """Tells which interpreter it lives in, and what it finds there."""

    def load(self) -> None:
        pass

    def look(self, body, cancelled, *, modules):
        found = {}
        for name in modules:
            try:
                found[name] = getattr(importlib.import_module(name), "WHO", "there")
            except ImportError:
                found[name] = None
        return {"prefix": sys.prefix, "modules": found}, b""


class NativeEngine:
    """Loads a shared library by its name alone, symbols for all to see, as engines do with their CUDA runtimes."""

    def load(self, *, library: str, symbol: str) -> None:
        self.library = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        self.symbol = symbol

    def version(self, body, cancelled):
        return {"version": getattr(self.library, self.symbol)()}, b""
