"""Many real SIP calls at once through a real Asterisk into a real engine, and what they leave behind."""
