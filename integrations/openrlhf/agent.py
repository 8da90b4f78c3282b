"""The file for OpenRLHF's `--train.agent_func_path`, to train a policy with a judge: RRM_CONFIG names its settings."""

from openrlhf.utils.agent import SingleTurnAgentExecutor

from rrm_plugin.adapters.openrlhf.policy import GroupReward

__all__ = ["AgentExecutor"]


class AgentExecutor(GroupReward, SingleTurnAgentExecutor):
    """OpenRLHF's own executor, whose replies are rewarded in groups."""
