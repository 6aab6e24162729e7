"""The command that serves the explorer."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Annotated, Literal

from cyclopts import Parameter

from vmexit_sim.cli.app import Engine, OptionalCount, app, cores
from vmexit_sim.errors import InputError

LARGEST_PORT = 65_535


def _is_port(_: object, value: int) -> None:
    if not 0 <= value <= LARGEST_PORT:
        raise ValueError(f"must be 0 to {LARGEST_PORT}")


@app.command
def explore(
    *,
    port: Annotated[int, Parameter(validator=_is_port)] = 8750,
    host: Literal["127.0.0.1", "::1"] = "127.0.0.1",
    open_: Annotated[bool | None, Parameter(name="--open", negative="--no-open")] = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
) -> None:
    """Serve a page on this machine where you move sliders and see the verdict move.

    Guests, platform, policies, spacing, batch size, costs: each change is simulated anew. The
    page's address holds what you chose, and a button exports it as a scenario for `compare`.

    Parameters
    ----------
    port
        Where to listen; 0 takes any port that is free.
    host
        Which loopback address to listen on; nobody on another machine is answered.
    open_
        Open the page in a browser; by default if there is a desktop.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"needs {error.name}, which is not installed", key="explore",
                         mend="pip install 'vmexit-sim[explore]'") from None  # fmt: skip
    from vmexit_sim.explorer.server import Explorer, listening, server_of
    from vmexit_sim.explorer.state import State

    with listening(host, port) as listener:
        explorer = Explorer(engine, cores(jobs))
        explorer.explore(State())  # compiled and warm before anybody asks
        gc.collect()
        gc.freeze()  # what is loaded by now is no garbage; looking through it takes 50 ms each time
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}/"
        with suppress(KeyboardInterrupt):
            print(f"exploring at {address} (Ctrl-C ends it)", flush=True)
            if _has_desktop() if open_ is None else open_:
                import webbrowser

                webbrowser.open(address)
            server_of(explorer, listener).run(sockets=[listener])
        print("exploring ended")


def _has_desktop() -> bool:
    """Whether a browser would open a window, and not take the terminal."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
