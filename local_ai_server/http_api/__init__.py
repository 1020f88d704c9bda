"""What the server offers over HTTP, beside its WebSocket on the same port."""
