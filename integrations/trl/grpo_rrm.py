"""GRPO with an RRM judge as its reward, for `accelerate launch`: the place for a dataset or another reward of your own.

    accelerate launch --num_processes 4 integrations/trl/grpo_rrm.py --config integrations/trl/grpo_rrm.yaml

Takes the file and the flags of `trl grpo`, but for `reward_funcs`: the reward is the judge that RRM_CONFIG describes.
"""

from __future__ import annotations

from datasets import load_dataset
from trl import DatasetMixtureConfig, GRPOConfig, GRPOTrainer, ModelConfig, TrlParser, get_dataset, get_peft_config
from trl.scripts.grpo import GRPOScriptArguments

from rrm_plugin import RRMJudge


def main() -> None:
    kinds = (GRPOScriptArguments, GRPOConfig, ModelConfig, DatasetMixtureConfig)
    parser = TrlParser(kinds)  # pyright: ignore[reportArgumentType]
    # Reading the file sets its environment variables, RRM_CONFIG among them.
    script, training, model, mixture = parser.parse_args_and_config()
    judge = RRMJudge.from_config()
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    data = get_dataset(mixture) if mixture.datasets else load_dataset(script.dataset_name, name=script.dataset_config)
    trainer = GRPOTrainer(
        model=model.model_name_or_path,
        reward_funcs=[judge],
        args=training,
        train_dataset=data[script.dataset_train_split],
        eval_dataset=data[script.dataset_test_split] if training.eval_strategy != "no" else None,
        peft_config=get_peft_config(model),
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model(training.output_dir)


if __name__ == "__main__":
    main()
