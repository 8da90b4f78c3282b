"""Ranking from Python with a judge behind an OpenAI-compatible address: vLLM, SGLang, llama.cpp, or a provider.

    vllm serve Reward-Reasoning/RRM-7B --port 8001
    .venv/bin/python examples/03_rank_with_a_server.py http://localhost:8001/v1

The name of the model is asked of the server where it serves only one. A provider's key is read from RRM_API_KEY or
OPENAI_API_KEY. `rrm rank` does the same for a file of groups.
"""

from __future__ import annotations

import argparse

from rrm_plugin import RRMError, RRMJudge

QUESTION = "A train leaves at 14:50 and arrives at 16:05. How many minutes does the journey take?"
ANSWERS = [
    "It takes 60 minutes.",
    "From 14:50 to 15:50 is one hour, and 15 more minutes make it 16:05: the journey takes 75 minutes.",
    "16:05 - 14:50 = 155 minutes.",
    "About an hour and a quarter.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ranks four answers with the judge at an address.")
    parser.add_argument("url", help="of the server, http://localhost:8001/v1 for example")
    parser.add_argument("--model", help="its name on the server, where that serves several")
    options = parser.parse_args()
    try:
        rank(options.url, options.model)
    except RRMError as error:
        raise SystemExit(f"rrm: {error}") from error


def rank(url: str, model: str | None) -> None:
    """Prints the answers, best first, and what the judge said of the first pair."""
    with RRMJudge(model=model, engine=url, schedule="round_robin", orders="both", max_tokens=4096) as judge:
        scores = judge.rank(QUESTION, ANSWERS)
        judge.refuse_silence([scores])  # a server that never answers is an error, rather than four unscored answers
    print(QUESTION)
    for index in scores.ranking:
        print(f"  {scores.values[index]:+.2f}  {ANSWERS[index]}")
    for index in scores.unscored:
        print(f"   none  {ANSWERS[index]}")
    print(f"\n{scores.calls} calls; without a verdict: {dict(scores.failures) or 'none'}")
    if scores.agreement is not None:
        print(f"Both orders name the same winner in {scores.agreement:.0%} of the pairs.")
    print(f"\nThe judge on the first pair:\n\n{scores.judgements[0].text or scores.judgements[0].detail}")


if __name__ == "__main__":
    main()
