"""OpenRLHF: its shapes in and out.

    training    the reward of the judge's own training, for `--reward.remote_url` with a file
    policy      an executor that has groups of replies judged, for `--train.agent_func_path`
    siblings    which replies belong together
    endpoint    the same behind an address, for `--reward.remote_url` with a URL
    texts       what was asked and what was answered, told from OpenRLHF's texts

OpenRLHF asks for the reward of one reply at a time and loads the files it is pointed at on their own, so those in
`integrations/openrlhf/` only import from here. Nothing here imports openrlhf.
"""

from rrm_plugin.adapters.openrlhf.training import reward_func

__all__ = ["reward_func"]
