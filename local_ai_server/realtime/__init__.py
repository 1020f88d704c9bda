"""OpenAI's Realtime protocol over the server's own models: `/v1/realtime`."""
