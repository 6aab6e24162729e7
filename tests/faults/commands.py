"""Runs many commands in one process under a fault, and prints what each ended with.

``python commands.py FAULT FOLDER`` reads lists of arguments as JSON from standard input. Faults:

* ``full``: no file may grow beyond a few bytes, as on a disk that is almost full;
* ``read-only``: the folder may not be written, not even by root;
* ``interrupted``: an interrupt comes when a file is complete and about to take its place;
* ``none``.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2


def drop_privileges() -> None:
    """Make root an ordinary user where permissions of files are asked for (capabilities(7))."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    held = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, held) == 0
    held[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    assert libc.capset(header, held) == 0


def strike(fault: str, folder: Path) -> None:
    """Have the fault hold from now on."""
    sys.dont_write_bytecode = True  # a module imported from here on would be cached in part
    match fault:
        case "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))
        case "read-only":
            drop_privileges()
            folder.chmod(0o555)
        case "interrupted":
            Path.replace = interrupted  # type: ignore[method-assign, assignment]


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def main() -> None:
    """Run the commands."""
    fault, folder = sys.argv[1], Path(sys.argv[2])
    commands = json.load(sys.stdin)
    from vmexit_sim.cli import main as command_line
    from vmexit_sim.engine.compiled_engine import prepare  # so that no cache is written later

    prepare()
    os.chdir(folder)
    ended = []
    strike(fault, folder)
    try:
        for arguments in commands:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    command_line(arguments)
                except SystemExit as leaving:
                    status: Any = leaving.code
                except BaseException as error:
                    status = repr(error)
            ended.append((status, err.getvalue()))
    finally:
        with contextlib.suppress(OSError):
            folder.chmod(0o755)
    json.dump(ended, sys.stdout)


if __name__ == "__main__":
    main()
