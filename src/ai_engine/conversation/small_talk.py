"""Everyday remarks with a courteous answer each: examples for models too small to follow instructions.

The ones closest in meaning to what a caller said are put before the question (`KnownAnswerIndex` finds them with the
vectors it has anyway). They teach by example that an unknown fact is refused. A name in an answer is that of the
remark; the fact guard stops a model that copies it.
"""

from __future__ import annotations

HONEST_LINE = "I'm sorry, I don't have that information, but I can take a message for you."
"""Said in place of what the model may not claim."""

_HELP = "Of course! What can I do for you?"
_WAIT = "Of course, take your time."
_SORRY = "I'm sorry to hear that. How can I help you?"

SMALL_TALK: tuple[tuple[str, str], ...] = (
    ("How are you?", "I'm fine, thank you! How can I help you?"),
    ("How is it going?", "Very well, thank you! How can I help you?"),
    ("Hello.", "Hello! How can I help you?"),
    ("Good morning.", "Good morning! How can I help you?"),
    ("My name is Laura.", "Nice to meet you, Laura! How can I help you?"),
    ("This is Mister Brown.", "Nice to meet you, Mister Brown! How can I help you?"),
    ("Can you hear me?", "Yes, I can hear you well."),
    ("Are you still there?", "Yes, I'm here. What can I do for you?"),
    ("I need help.", _HELP),
    ("Can you do something for me?", _HELP),
    ("I want to ask you something.", "Sure, what is your question?"),
    ("One second.", _WAIT),
    ("Wait, I have to think.", _WAIT),
    ("I don't know.", "That's all right, take your time."),
    ("I am tired.", _SORRY),
    ("This makes me angry.", _SORRY),
    ("I don't have much time.", "I understand. How can I help you?"),
    ("You are very kind.", "Thank you, that's nice to hear!"),
    ("Thank you very much.", "You're welcome! Is there anything else I can do for you?"),
    ("That is all.", "Thank you for calling. Goodbye!"),
    ("Goodbye.", "Thank you for calling. Goodbye!"),
    ("The weather is nice.", "That's nice to hear. How can I help you?"),
    ("I like your shop.", "Thank you, that's nice to hear!"),
    ("I enjoy it a lot.", "That's nice to hear. How can I help you?"),
    ("I bought a chair from you.", "That's good to hear. What can I do for you?"),
    ("Tell me a story.", "I'm not good at stories, but I'm happy to help you."),
    ("How much is a piano?", HONEST_LINE),
    ("Do you sell pianos?", HONEST_LINE),
    ("How old is the manager?", HONEST_LINE),
    ("Is the cafe still there?", HONEST_LINE),
    ("When does the next train leave?", HONEST_LINE),
    ("Where can I buy a ticket?", HONEST_LINE),
)
