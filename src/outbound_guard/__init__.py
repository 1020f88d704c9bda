"""Which addresses a request to the outside may go to: shared by the engine and by local_ai_server."""
