"""verl's reward manager `rrm`: a policy's responses, rewarded by a judge that sees each among its siblings.

    reward.reward_manager.name=rrm                      with this package installed; verl finds it by its entry point

    reward.reward_manager.source=importlib              the same by path
    reward.reward_manager.name=RRMRewardManager
    reward.reward_manager.module.path=pkg://rrm_plugin.adapters.verl.manager

Settings come from the file that RRM_CONFIG names (`settings.py`). Where verl serves the judge itself
(`reward.reward_model`), it needs `reward.custom_reward_function.path=pkg://rrm_plugin.adapters.verl` as well: without
it verl takes the model for one that gives scores, and asks no manager.
"""

from __future__ import annotations

import functools
from typing import Any

from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.protocol import DataProto

from rrm_plugin.adapters.verl.rendezvous import Rendezvous
from rrm_plugin.adapters.verl.rows import row_of
from rrm_plugin.adapters.verl.settings import policy_settings

__all__ = ["RRMRewardManager"]


@register("rrm")
class RRMRewardManager(RewardManagerBase):
    """One of them is in each reward-loop worker; the groups come together in a broker that they share.

    Args:
        config: verl's.
        tokenizer: of the policy.
        compute_score: not called.
        reward_router_address: where verl serves the model of `reward.reward_model`, if it does.
        reward_model_tokenizer: not used.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._rendezvous = Rendezvous(policy_settings(config, reward_router_address))
        self._reference_column = self._rendezvous.begin()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """The reward of one sample, once its group is judged.

        Args:
            data: its outputs, of which the last one is rewarded.

        Returns:
            `reward_score`, and `reward_extra_info` with the same numbers every time (`reporting/outcomes.py`).

        Raises:
            ConfigError: verl passed no prompt, or a setting of the judge cannot work.
        """
        read = functools.partial(row_of, data[-1], self.tokenizer, self._reference_column)
        row = await self.loop.run_in_executor(None, read)
        return await self._rendezvous.join(row)
