"""`python -m rrm_plugin.cli`, the same as `rrm`."""

from rrm_plugin.cli import main

main()
