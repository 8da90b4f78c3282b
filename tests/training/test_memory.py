"""Ten times the rows need no more memory but for the hashes of the pairs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="measures with the resource module of Unix")
def test_memory_does_not_grow_with_the_input():
    command = [sys.executable, str(ROOT / "benchmarks" / "train_data.py"), "--rows", "4000", "40000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=110)
    (small, large) = (float(number) for number in re.findall(r"([\d.]+) \|$", done.stdout, flags=re.MULTILINE))
    assert large < 30 and large - small < 10, done.stdout
