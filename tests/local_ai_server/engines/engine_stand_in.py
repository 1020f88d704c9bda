"""A program that takes the place of `vllm` or `trtllm-serve` on the PATH, where neither can run.

It knows the options that those document and nothing else (vLLM's "Engine Arguments"; tensorrt_llm/commands/serve.py),
and serves /health, /v1/models and streamed /v1/chat/completions as they do. vLLM asks for VLLM_API_KEY below /v1, and
has /reset_prefix_cache with VLLM_SERVER_DEV_MODE=1 only, which fails while a request holds blocks; trtllm-serve knows
no key.

What else it does is in `behaviour.json` in its folder; what it was given, it leaves in `seen.json` there.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(sys.argv[0]).resolve().parent
KV_DTYPES = {"vllm": ["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"], "trtllm-serve": ["auto", "fp8", "nvfp4"]}
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def fraction(text):
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be in (0, 1]")
    return value


def vllm_options():
    parser = argparse.ArgumentParser("vllm", allow_abbrev=False)
    serve = parser.add_subparsers(required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("model_tag")
    serve.add_argument("--host")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--api-key")
    serve.add_argument("--served-model-name")
    serve.add_argument("--gpu-memory-utilization", type=fraction)
    serve.add_argument("--kv-cache-dtype", choices=KV_DTYPES["vllm"])
    serve.add_argument("--attention-backend", choices=["FLASH_ATTN", "FLASHINFER", "TRITON_ATTN"])
    serve.add_argument("--enforce-eager", action="store_true")
    serve.add_argument("--max-model-len", type=int)
    serve.add_argument("--max-num-seqs", type=int)
    serve.add_argument("--max-num-batched-tokens", type=int)
    return parser


def trtllm_options():
    parser = argparse.ArgumentParser("trtllm-serve", allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--tokenizer")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--backend", choices=["pytorch", "tensorrt", "trt", "_autodeploy"], default="pytorch")
    parser.add_argument("--max_batch_size", type=int)
    parser.add_argument("--max_num_tokens", type=int)
    parser.add_argument("--max_seq_len", type=int)
    parser.add_argument("--free_gpu_memory_fraction", "--kv_cache_free_gpu_memory_fraction", type=fraction)
    parser.add_argument("--config", "--extra_llm_api_options")
    return parser


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = owner = key = ""
    resets = running = 0
    resettable = False

    def log_message(self, *args): ...

    def answer(self, status, content=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refused(self):
        if not self.path.startswith("/v1") or not self.key or self.headers["Authorization"] == f"Bearer {self.key}":
            return False
        self.answer(401, b'{"error": "Unauthorized"}')
        return True

    def do_GET(self):
        if self.path == "/health":
            self.answer(200)
        elif not self.refused():
            listed = [{"id": self.name, "object": "model", "owned_by": self.owner}]
            self.answer(200, json.dumps({"object": "list", "data": listed}).encode())

    def do_POST(self):
        request = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/reset_prefix_cache" and self.resettable:
            Engine.resets += not Engine.running
            (HERE / "resets").write_text(str(Engine.resets))
            self.answer(500 if Engine.running else 200)
        elif self.path != "/v1/chat/completions":
            self.answer(404)
        elif not self.refused():
            Engine.running += 1
            try:
                self.stream(json.loads(request))
            finally:
                Engine.running -= 1

    def stream(self, request):
        assert request["model"] == self.name and request["stream"]
        words = request["messages"][-1]["content"]
        if words == "die":
            os._exit(7)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        deltas = [{"role": "assistant", "content": ""}, {"content": "You said"}, {"content": f" {words}."}]
        for i, delta in enumerate([*deltas, {}]):
            choice = {"index": 0, "delta": delta, "finish_reason": None if i < len(deltas) else "stop"}
            event = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
            self.chunk(f"data: {json.dumps(event)}\n\n".encode())
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def main():
    program = Path(sys.argv[0]).name
    options = {"vllm": vllm_options, "trtllm-serve": trtllm_options}[program]().parse_args()
    extra = json.loads(Path(options.config).read_text()) if getattr(options, "config", None) else None
    path = HERE / "behaviour.json"
    behaviour = json.loads(path.read_text()) if path.exists() else {}
    starts = HERE / "starts"
    starts.write_text(starts.read_text() + "." if starts.exists() else ".")
    if behaviour.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children = [
        subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=own_session)
        for own_session in behaviour.get("children", [])
    ]
    pids = [os.getpid(), *(child.pid for child in children)]
    seen = {"argv": sys.argv[1:], "env": dict(os.environ), "file": extra, "pids": pids, "group": os.getpgrp()}
    (HERE / "seen.part").write_text(json.dumps(seen))
    (HERE / "seen.part").rename(HERE / "seen.json")
    for _ in range(behaviour.get("megabytes", 0)):
        sys.stderr.write(("x" * 1023 + "\n") * 1024)
    if "dies" in behaviour:
        print(behaviour["dies"], file=sys.stderr)
        sys.exit(3)
    if behaviour.get("hangs"):
        time.sleep(600)
    is_vllm = program == "vllm"
    Engine.owner = "vllm" if is_vllm else "tensorrt_llm"
    Engine.name = (options.served_model_name if is_vllm else "") or Path(getattr(options, "model", "model")).name
    Engine.key = os.environ.get("VLLM_API_KEY", "") if is_vllm else ""
    Engine.resettable = is_vllm and os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
    try:
        server = ThreadingHTTPServer((options.host, options.port), Engine)
    except OSError as error:
        sys.exit(f"OSError: {error}")
    if not behaviour.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


main()
