"""`voice_core` at work in the server: where the server itself decides when a caller's turn begins and ends."""
