"""The command line.

Bad input ends with status 2 and a message that names the file, the key, the value and the mend;
nobody sees a traceback for a mistake of theirs. With ``--json`` a command prints one JSON document
on standard output and nothing else. Heavy imports happen inside the commands, so that ``--help``
answers at once.
"""

from vmexit_sim.cli.main import main

__all__ = ["main"]
