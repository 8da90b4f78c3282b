"""The file for OpenRLHF's `--reward.remote_url`, to train a judge: it has to end in .py and define `reward_func`."""

from rrm_plugin.adapters.openrlhf import reward_func

__all__ = ["reward_func"]
