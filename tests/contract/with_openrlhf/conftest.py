"""OpenRLHF imports vllm and flash_attn at module level. Both need a GPU: where they are missing, `stubs` plays them."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

STUBS = Path(__file__).resolve().parent / "stubs"

# Elsewhere the tests of this folder are skipped, and nothing may believe that vllm is installed.
if importlib.util.find_spec("openrlhf") and not importlib.util.find_spec("vllm"):
    sys.path.insert(0, str(STUBS))
    # Ray's workers are processes of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(STUBS), os.environ.get("PYTHONPATH")]))
