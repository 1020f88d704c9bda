"""Commands that use the server as a client does: warm-up, live chat, conversations, tool regression, bench."""
