"""The local AI server: speech-to-text, language model and text-to-speech of this machine."""

import os

# ONNX Runtime tells its maker over the Internet about each process that uses it (since 1.29), unless this is set before
# it is loaded. Workers inherit it. Whoever wants that telemetry sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
