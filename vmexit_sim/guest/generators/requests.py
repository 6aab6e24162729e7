"""Request and response: a closed loop with so many requests in flight.

::

    think  request 0  think  request 1  … request c-1 │ response 0  think  request c │ response 1  …

A request is one doorbell write, and its service is the time that emulating it takes. With
`in_flight` c the guest has c contexts that take turns: each thinks, makes a request, and needs its
response before it thinks again, so that the result of a request is needed by the c-th row after it.
A guest that waits for no response at all posts as fast as it thinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from vmexit_sim.distributions import Distribution
from vmexit_sim.guest.generators.stream import (
    ADDRESSES,
    ZERO,
    Draws,
    Generated,
    Many,
    Vcpus,
    agent_of,
    operation_rows,
)
from vmexit_sim.guest.table import NEVER, AccessTable, Phase, Space, make_table
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams


class RequestResponse(Generated):
    """Requests by doorbell, whose responses are waited for.

    Attributes:
        requests: requests per vCPU.
        vcpus: vCPUs, all with the same parameters and with draws of their own.
        in_flight: requests that a vCPU has under way at most; none: it waits for no response.
        think: guest compute before each request.
        service: time that serving one request takes in the device.
    """

    kind: Literal["request_response"]
    requests: Many
    vcpus: Vcpus = 1
    in_flight: Annotated[int, Field(ge=1, le=256)] | None = 1
    think: Distribution
    service: Distribution = ZERO

    @property
    def is_random(self) -> bool:
        """Whether any time is left to chance."""
        return not (self.think.is_constant and self.service.is_constant)

    def examples(self) -> AccessTable:
        """One request: all are of a kind."""
        return self._table(np.array([0]))

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows, in blocks of at most `rows`."""
        draws = Draws(streams, vcpu)
        for part in operation_rows(self.requests, 1, rows):
            n = len(part)
            yield self._table(
                part.operation,
                vcpu=vcpu,
                compute=draws.times("think", self.think, n),
                emulate=draws.times("service", self.service, n),
            )

    def _table(self, operation: np.ndarray, **columns: object) -> AccessTable:
        n = len(operation)
        needed = NEVER if self.in_flight is None else self.in_flight + np.arange(n)
        return make_table(
            n,
            origin="request and response",
            agent=agent_of(Space.DOORBELL),
            phase=Phase.JOB,
            operation=operation,
            space=Space.DOORBELL,
            write=True,
            address=ADDRESSES[Space.DOORBELL],
            needed_by=np.broadcast_to(needed, n),
            **columns,  # type: ignore[arg-type]
        )
