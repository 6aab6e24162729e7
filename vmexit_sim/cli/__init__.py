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

_received: list[int] = []
"""Signals that have come. What is raised for one, others may turn into an error of their own: a
class that is being made, pydantic's core."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with its status.

    SIGINT and SIGTERM end it with one line, even while its own modules are being imported; so does
    too little memory.
    """
    _received.clear()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _stop)
    try:
        from vmexit_sim.cli.running import run

        run(arguments)
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if signal.SIGTERM in _received:
            _leave("terminated", TERMINATED)
        elif _received or isinstance(error, KeyboardInterrupt):
            _leave("interrupted", INTERRUPTED)
        elif isinstance(error, MemoryError):
            said = str(error) or "the machine has no more"
            _leave(f"not enough memory: {said}; give fewer vCPUs, accesses or replications", 1)
        else:
            raise


def _stop(number: int, _: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _leave(said: str, status: int) -> None:
    """Say why, and end the process, though replications may be under way on its threads."""
    at_once = bool(_received) or any(not each.daemon for each in threading.enumerate()[1:])
    if at_once and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):  # once is enough
            signal.signal(number, signal.SIG_IGN)
    print(f"vmexit-sim: {said}", file=sys.stderr, flush=True)
    if at_once:
        os._exit(status)
    sys.exit(status)
