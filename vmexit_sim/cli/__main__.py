"""``python -m vmexit_sim.cli``: the command line without its script."""

from vmexit_sim.cli import main

main()
