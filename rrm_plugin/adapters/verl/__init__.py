"""verl: the reward of a judge's training, and a judge as the reward of a policy.

    compute_score       `reward.custom_reward_function` for the training of a judge (`judge_training.py`)
    manager.py          `reward.reward_manager.name=rrm`: groups of a policy's responses, scored by a judge

Nothing is imported from verl here, so that the reward function loads without it.
"""

from rrm_plugin.adapters.verl.judge_training import compute_score

__all__ = ["compute_score"]
