"""llama.cpp's own HTTP server out of the xllamacpp wheel, for machines that have no llama-server program.

Takes those of llama-server's options that `programs.LLAMA_SERVER` uses, by the same names, and its API key from
LLAMA_API_KEY: `python -m local_ai_server.engines.llama_server --model FILE --host 127.0.0.1 --port 8080`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

_ATTENTION = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}
_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM. 1: the model cannot be loaded, or the port is taken."""
    options = _parser().parse_args(arguments)
    # Signals are looked at by the main thread alone, and it waits for them below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    import xllamacpp  # noqa: PLC0415 - this process's native stack

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias} if options.alias else set()
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = options.ctx_size
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads_batch or options.threads
    params.n_gpu_layers = options.n_gpu_layers
    if options.batch_size:
        params.n_batch = params.n_ubatch = options.batch_size
    types = xllamacpp.ggml_type
    params.cache_type_k = types[f"GGML_TYPE_{options.cache_type_k.upper()}"]
    params.cache_type_v = types[f"GGML_TYPE_{options.cache_type_v.upper()}"]
    params.flash_attn_type = xllamacpp.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{_ATTENTION[options.flash_attn]}"]
    params.use_jinja = options.jinja
    params.ui = not options.no_webui
    params.endpoint_slots = not options.no_slots
    params.fit_params = False  # the context is what the options say, not what a guess about memory leaves
    params.cache_ram_mib = 0
    if key := os.environ.get("LLAMA_API_KEY"):
        params.api_keys = [key]
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - its log
        return 1
    print(f"listening on {server.listening_address}", file=sys.stderr, flush=True)  # noqa: T201
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llama-server", description="llama.cpp's HTTP server by xllamacpp.", allow_abbrev=False
    )
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--alias", default="", help="what /v1/models calls it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--ctx-size", type=int, default=4096, help="tokens of all slots together")
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    parser.add_argument("--threads-batch", type=int)
    parser.add_argument("--n-gpu-layers", type=int, default=-1)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--cache-type-k", choices=_CACHE_TYPES, default="f16")
    parser.add_argument("--cache-type-v", choices=_CACHE_TYPES, default="f16")
    parser.add_argument("--flash-attn", choices=tuple(_ATTENTION), default="auto")
    parser.add_argument("--jinja", action="store_true")
    parser.add_argument("--no-webui", action="store_true")
    parser.add_argument("--no-slots", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
