"""OpenAI's HTTP API from the asking side, used by the engine's components and by local_ai_server."""
