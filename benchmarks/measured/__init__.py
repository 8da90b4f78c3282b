"""What the benchmarks share: the machine they ran on, spreads, and results as data beside the page for people."""
