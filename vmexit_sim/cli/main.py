"""Running the command line, and what a user sees of errors."""

from __future__ import annotations

import gc
import logging
import os
import sys

from cyclopts import CycloptsError

from vmexit_sim.cli import comparing, models, questions, studies, traces
from vmexit_sim.cli.app import app
from vmexit_sim.errors import InputError, VmexitError

USER_ERROR = 2
"""Exit status for input that cannot be used."""

COMMANDS = (comparing, questions, studies, traces, models)
"""The modules whose commands are registered by importing them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with its status."""
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    gc.set_threshold(100_000)  # a trace is many small objects, none of them garbage
    try:
        app(arguments, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(USER_ERROR)  # cyclopts has said what is wrong
    except VmexitError as error:
        print(f"vmexit-sim: {error}", file=sys.stderr)
        sys.exit(USER_ERROR if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print("vmexit-sim: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader (head, a pager) has seen enough
        _forget_output()
        sys.exit(0)
    except OSError as error:  # a full disk
        print(f"vmexit-sim: output cannot be written: {error.strerror or error}", file=sys.stderr)
        _forget_output()
        sys.exit(1)
    sys.exit(0)


def _forget_output() -> None:
    """Keep Python from writing again, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
