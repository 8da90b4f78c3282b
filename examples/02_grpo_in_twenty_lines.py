"""The wiring in seconds: GRPO with a scripted judge that prefers the longer answer. On the CPU, without a network.

    .venv/bin/python examples/02_grpo_in_twenty_lines.py

For a run that is meant: a model of yours in place of the tiny random one, and in place of "scripted:longer"
`model="Reward-Reasoning/RRM-7B", engine="http://localhost:8001/v1"`, any OpenAI-compatible server.
"""

from __future__ import annotations

from datasets import Dataset
from tiny_model import tiny_model
from trl import GRPOConfig, GRPOTrainer

from rrm_plugin import RRMJudge

judge = RRMJudge(engine="scripted:longer", schedule="round_robin", reducer="win_rate")
model, tokenizer = tiny_model()
trainer = GRPOTrainer(
    model=model,
    processing_class=tokenizer,
    reward_funcs=[judge],
    train_dataset=Dataset.from_dict({"prompt": ["Why is the sky blue?", "What is a hash table?"]}),
    args=GRPOConfig(
        output_dir="outputs/twenty_lines",
        max_steps=3,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=32,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
    ),
)
trainer.train()
for step in trainer.state.log_history[:-1]:
    print(f"step {step['step']}: {step['rrm/calls']:.0f} judge calls, spread of the rewards {step['reward_std']:.2f}")
