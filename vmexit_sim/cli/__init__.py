"""The command line.

Bad input ends with status 2 and a message that names the file, the key, the value and the mend;
nobody sees a traceback for a mistake of theirs, nor for an interrupt. With ``--json`` a command
prints one JSON document on standard output and nothing else. Heavy imports happen inside the
commands, so that ``--help`` answers at once.
"""

import os
import signal
import sys
import threading

__all__ = ["main"]

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after SIGINT and SIGTERM, as a shell counts them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with its status.

    SIGINT and SIGTERM end it with one line, even while its own modules are being imported.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        from vmexit_sim.cli.running import run

        run(arguments)
    except _Terminated:
        _leave("terminated", TERMINATED)
    except KeyboardInterrupt:
        _leave("interrupted", INTERRUPTED)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, at which all is put away as at an interrupt."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _leave(said: str, status: int) -> None:
    """Say why, and end the process, though replications may be under way on its threads."""
    print(f"vmexit-sim: {said}", file=sys.stderr, flush=True)
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        os._exit(status)
    sys.exit(status)
