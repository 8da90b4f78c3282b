"""`python -m rrm_plugin.cli`, the same as `rrm`."""

from rrm_plugin.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
