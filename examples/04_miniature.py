"""The miniature judge teaches a policy to add, without a single label: some minutes on two CPU cores, no network.

    python examples/04_miniature.py

A policy is pre-trained from nothing on text that is mostly wrong, then trained by TRL's GRPOTrainer three times: with
`RRMJudge(model="miniature")` as its only reward, with the true labels, and with random rewards. The judge is the one
that comes with the package; docs/experiment.md says how it was trained, and `make experiment` does it all.
Table and curves go into outputs/experiment-quick.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "examples.experiment", "--quick", "--fresh", *sys.argv[1:]]
    sys.exit(subprocess.run(command, cwd=root, check=False).returncode)
