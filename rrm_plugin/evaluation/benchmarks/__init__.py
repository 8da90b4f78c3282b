"""Benchmarks of a judge by name, each in its source's own layout, with its own figure and what others published.

    pairs = read_pairs(BENCHMARKS["llmbar"], Path("LLMBar"))

One file a benchmark; `pairs.py` says what one is. Left out: questions for a policy (`evaluation/choices.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from rrm_plugin.evaluation.benchmarks.auto_j import AUTO_J
from rrm_plugin.evaluation.benchmarks.judgebench import JUDGEBENCH
from rrm_plugin.evaluation.benchmarks.llmbar import LLMBAR
from rrm_plugin.evaluation.benchmarks.local import pairs_file
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, read_pairs
from rrm_plugin.evaluation.benchmarks.pandalm import PANDALM
from rrm_plugin.evaluation.benchmarks.ppe import PPE
from rrm_plugin.evaluation.benchmarks.rewardbench import REWARDBENCH, REWARDBENCH_2
from rrm_plugin.evaluation.benchmarks.rewardbench2_ties import REWARDBENCH_2_TIES
from rrm_plugin.evaluation.benchmarks.rm_bench import RM_BENCH
from rrm_plugin.evaluation.benchmarks.rmb import RMB

__all__ = ["BENCHMARKS", "Benchmark", "Figures", "Published", "pairs_file", "read_pairs"]

BENCHMARKS: Mapping[str, Benchmark] = {
    known.name: known
    for known in (
        REWARDBENCH,
        REWARDBENCH_2,
        REWARDBENCH_2_TIES,
        RM_BENCH,
        JUDGEBENCH,
        PPE,
        LLMBAR,
        PANDALM,
        RMB,
        AUTO_J,
        pairs_file(),
    )
}
"""The known benchmarks by name; `pairs` is a file of one's own."""
