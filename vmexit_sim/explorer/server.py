"""The server: answers a browser on this machine, and nobody else.

=======================  =============================================================
address                  what
=======================  =============================================================
``/?STATE``              the page
``/answer?STATE``        a first answer as JSON, of what runs in `FIRST` seconds
``/whole?STATE``         the answer after all replications
``/scenario.toml?STATE``  the scenario, to run elsewhere
=======================  =============================================================

One thread at a time simulates, and a whole answer gives way after every `SHARE` seconds, so that a
slider never waits for an answer that nobody looks at any more. A request names no file: its names
are looked up among those that are shipped.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, VmexitError
from vmexit_sim.explorer.answer import Exploration
from vmexit_sim.explorer.guard import Guard, hosts_of
from vmexit_sim.explorer.page import regions, style, whole_page
from vmexit_sim.explorer.scenario import scenario_of, toml_of
from vmexit_sim.explorer.state import State, query_of, read_state

log = logging.getLogger("vmexit_sim")

FIRST = 0.05
"""Seconds that a first answer may take; `answer.FEWEST` replications are run in any case."""

SHARE = 0.05
"""Seconds of replications after which a whole answer lets others run."""

KEPT = 16
"""States of which the replications are kept."""

USER_ERROR, FAILED = 400, 500

Made = TypeVar("Made")

FILENAME = "explored.toml"

HOSTS = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
"""Where the server may listen: on loopback."""

STATIC = Path(__file__).with_name("static")


class Explorer:
    """What the server knows: explorations of the last states, and threads to run them on.

    Args:
        engine: what runs them.
        jobs: replications that run at a time.
    """

    def __init__(self, engine: EngineName, jobs: int) -> None:
        self.engine = engine
        self._pool = ThreadPoolExecutor(jobs)
        self._seat = CapacityLimiter(1)
        self._kept: OrderedDict[str, Exploration] = OrderedDict()

    def explore(self, state: State, seconds: float = FIRST) -> Exploration:
        """A state's exploration, after some more replications.

        Args:
            state: what was chosen.
            seconds: how long this may take, opening the scenario included.

        Raises:
            InputError: the scenario does not fit.
            SimulationError: a deadlock.
        """
        query, begin = query_of(state), time.monotonic()
        found = self._kept.pop(query, None) or Exploration(state, self._pool, self.engine)
        found.advance(seconds - (time.monotonic() - begin))
        self._kept[query] = found
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown()

    async def page(self, request: Request) -> Response:
        """The whole page."""
        try:
            state = read_state(_query(request))
        except InputError as error:
            return _html(whole_page(State(), None, error), USER_ERROR)

        def made() -> tuple[str, int]:
            try:
                return whole_page(state, self.explore(state).answer), 200
            except VmexitError as error:
                return whole_page(state, None, error), USER_ERROR

        return _html(*await self._run(made))

    async def answer(self, request: Request) -> Response:
        """The regions of the page that change."""
        query = _query(request)
        with_controls = query.startswith(WITH_CONTROLS)
        state = query.removeprefix(WITH_CONTROLS)
        return await self._run(lambda: self._answered(state, FIRST, with_controls))

    async def whole(self, request: Request) -> Response:
        """The same after all replications, or nothing if nobody waits any more."""
        query = _query(request)
        while not await self._run(lambda: self._is_whole(query)):
            if await request.is_disconnected():
                return Response(status_code=204)
        return await self._run(lambda: self._answered(query, 0))

    async def toml(self, request: Request) -> Response:
        """The scenario as a file."""
        query = _query(request)

        def made() -> tuple[str, int]:
            try:
                return toml_of(scenario_of(read_state(query))), 200
            except VmexitError as error:
                return f"{error}\n", USER_ERROR

        text, status = await self._run(made)
        if status != 200:
            return PlainTextResponse(text, status)
        named = {"content-disposition": f'attachment; filename="{FILENAME}"'}
        return Response(text, media_type="application/toml", headers=named)

    async def _run(self, work: Callable[[], Made]) -> Made:
        return await to_thread.run_sync(work, limiter=self._seat)

    def _is_whole(self, query: str) -> bool:
        """Whether all replications are run, after some more; of a mistake there is no more."""
        try:
            return self.explore(read_state(query), SHARE).is_whole
        except VmexitError:
            return True

    def _answered(self, query: str, seconds: float, with_controls: bool = False) -> Response:
        """An answer, or what is wrong, as JSON."""
        state, answer, mistake = None, None, None
        try:
            state = read_state(query)
            answer = self.explore(state, seconds).answer
        except VmexitError as error:
            mistake = error
        document = {
            "query": query if state is None else query_of(state),
            "whole": answer is None or answer.exploration.is_whole,
            "html": regions(state, answer, mistake, with_controls=with_controls),
            "idle": [] if answer is None else answer.idle_sliders,
        }
        return JSONResponse(document, 200 if mistake is None else USER_ERROR)


WITH_CONTROLS = "controls=1&"
"""What stands before a state whose controls are wanted as well."""


def application(explorer: Explorer, port: int) -> Guard:
    """The application that a server runs.

    Args:
        explorer: what answers.
        port: the port that it is served on.
    """
    app = Starlette(
        routes=[
            Route("/", explorer.page),
            Route("/answer", explorer.answer),
            Route("/whole", explorer.whole),
            Route("/scenario.toml", explorer.toml),
            *_fixed(),
        ],
        exception_handlers={Exception: _failed},
    )
    return Guard(app, hosts_of(port))


def listening(host: str, port: int) -> socket.socket:
    """A socket on loopback that listens.

    Args:
        host: a key of `HOSTS`.
        port: which; 0: any that is free.

    Raises:
        InputError: the host is not on loopback, or the port is not to be had.
    """
    if host not in HOSTS:
        raise InputError("is not on loopback", key="--host", value=host,
                         mend=f"the page is for this machine: {' or '.join(HOSTS)}")  # fmt: skip
    try:
        listener = socket.create_server((host, port), family=HOSTS[host])
        # Connections take it over. Without it an answer's body waits 40 ms for its head's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise InputError(
            f"cannot be listened on: {error.strerror or error}", key="--port", value=port,
            mend="give another, or 0 for any that is free",
        ) from None  # fmt: skip


def server_of(explorer: Explorer, listener: socket.socket) -> uvicorn.Server:
    """A server that is ready to run on a socket, until somebody interrupts.

    Args:
        explorer: what answers.
        listener: as `listening` made it.
    """
    settings = uvicorn.Config(
        application(explorer, listener.getsockname()[1]), http="h11", ws="none", lifespan="off",
        access_log=False, log_config=None, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=1, limit_concurrency=64, h11_max_incomplete_event_size=16_384,
    )  # fmt: skip
    return uvicorn.Server(settings)


def _fixed() -> list[Route]:
    """What never changes: read once, so that no request leads to a file."""
    pieces = {
        "/explorer.css": (style(), "text/css"),
        "/explorer.js": ((STATIC / "explorer.js").read_text("utf-8"), "text/javascript"),
        "/icon.svg": ((STATIC / "icon.svg").read_text("utf-8"), "image/svg+xml"),
    }

    def endpoint(text: str, kind: str) -> Callable[[Request], Response]:
        return lambda _: Response(text, media_type=kind)

    return [Route(path, endpoint(*piece)) for path, piece in pieces.items()]


def _query(request: Request) -> str:
    return str(request.scope["query_string"].decode("latin-1"))


def _html(text: str, status: int) -> Response:
    return Response(text, status, media_type="text/html")


async def _failed(request: Request, error: Exception) -> Response:
    """What a browser is told of a mistake of ours; the terminal is told more."""
    log.error("an answer failed", exc_info=error)
    return PlainTextResponse("The simulator made a mistake; its terminal says which.\n", FAILED)
