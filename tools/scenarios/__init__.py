"""Conversations as data files, run on virtual time against the core and in real time through Asterisk."""
