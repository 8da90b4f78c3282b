"""An alarm that is to stop the run reaches verl as an error of the reward, and not as a number."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.with_verl.policy_runs import bring, numbers, reward_loop, write_settings

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.experimental.reward_loop", reason=REASON, exc_type=ImportError)


def test_a_run_ends_with_the_alarm(settings, model, tokenizer):
    limits = {"action": "stop", "steps": 2, "groups": 3}
    write_settings(settings, engine="scripted:first", alarms=limits, gate={"deadline": 30.0, "start_within": 0})
    with reward_loop(model, tokenizer) as run:
        for number in range(2):
            assert numbers(asyncio.run(bring(run, number)), "alarms") == [0.0] * 8
        with pytest.raises(Exception, match=r'AlarmError.*alarms="stop" asks for.*order_agreement is 0 ') as told:
            asyncio.run(bring(run, 2))
        assert "ray" in type(told.value).__module__
