"""The voice-activity network, for the engine and for the AI server."""
