"""Running a command, and what a user sees of errors."""

from __future__ import annotations

import gc
import logging
import os
import sys

from cyclopts import CycloptsError

from vmexit_sim.cli import (
    comparing,
    curves,
    exploring,
    figures,
    hosts,
    models,
    moments,
    questions,
    reports,
    schemas,
    studies,
    timelines,
    traces,
    validating,
)
from vmexit_sim.cli.app import app
from vmexit_sim.errors import InputError, NoKvm, VmexitError

USER_ERROR = 2
"""Exit status for input that cannot be used."""

NO_KVM = 3
"""Exit status where there is no /dev/kvm to measure with."""

COMMANDS = (
    comparing, figures, moments, curves, reports, exploring, timelines, questions, hosts, studies,
    traces, models, schemas, validating,
)  # fmt: skip
"""The modules whose commands are registered by importing them."""


def run(arguments: list[str] | None = None) -> None:
    """Run a command, and end the process with its status."""
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    gc.set_threshold(100_000)  # a trace is many small objects, none of them garbage
    try:
        app(arguments, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(USER_ERROR)  # cyclopts has said what is wrong
    except VmexitError as error:
        print(f"vmexit-sim: {error}", file=sys.stderr)
        sys.exit(_status_of(error))
    except BrokenPipeError:  # the reader (head, a pager) has seen enough
        _forget_output()
        sys.exit(0)
    except OSError as error:  # a full disk
        print(f"vmexit-sim: output cannot be written: {error.strerror or error}", file=sys.stderr)
        _forget_output()
        sys.exit(1)
    sys.exit(0)


def _status_of(error: VmexitError) -> int:
    if isinstance(error, NoKvm):
        return NO_KVM
    return USER_ERROR if isinstance(error, InputError) else 1


def _forget_output() -> None:
    """Keep Python from writing again, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
