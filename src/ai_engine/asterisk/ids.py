"""The ids we give to what we make in Asterisk: ``parley-<engine instance>-<call id>-<role>``.

Chosen before the request that makes the thing, so that no event can arrive for an id we do not know yet; recognisable
after a crash, so that we destroy what is ours and nothing else.
"""

import re

FAMILY = "parley-"
"""How the ids of every engine begin: never a caller's channel."""

_MOST_LETTERS = 32

_INSTANCE = re.compile(r"[A-Za-z0-9_]{1,32}")
_CALL = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def instance_of(app: str) -> str:
    """The engine instance of a Stasis application: the same after a restart, so that an engine knows its leftovers."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in app)[:_MOST_LETTERS]


def engine_prefix(app: str) -> str:
    """How the ids of that application's engine begin."""
    return f"{FAMILY}{instance_of(app)}-"


class OwnIds:
    """Makes and recognises one engine's ids.

    `instance` must stay the same when the engine restarts (or it would not recognise its leftovers) and differ between
    engines that share an Asterisk. It holds no hyphen, so no engine's prefix begins another's.
    """

    def __init__(self, instance: str) -> None:
        if not _INSTANCE.fullmatch(instance):
            raise ValueError(f"engine instance id {instance!r}: use 1 to 32 letters, digits or underscores")
        self.instance = instance
        self.prefix = f"{FAMILY}{instance}-"

    def media(self, call_id: str) -> str:
        """Id of the call's ExternalMedia channel."""
        return self._make(call_id, "media")

    def bridge(self, call_id: str) -> str:
        """Id of the call's mixing bridge."""
        return self._make(call_id, "bridge")

    def leg(self, call_id: str, name: str) -> str:
        """Id of a further channel of the call, e.g. the target of an attended transfer."""
        return self._make(call_id, name)

    def is_ours(self, resource_id: str) -> bool:
        """Whether this engine, in this life or an earlier one, made the channel, bridge or playback."""
        return resource_id.startswith(self.prefix)

    def _make(self, call_id: str, role: str) -> str:
        if not _CALL.fullmatch(call_id):
            raise ValueError(f"call id {call_id!r}: use 1 to 64 letters, digits, dots, hyphens or underscores")
        return f"{self.prefix}{call_id}-{role}"
