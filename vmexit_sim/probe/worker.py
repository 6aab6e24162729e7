"""The process that measures: it takes orders, one a line, and answers each with a line.

``python -m vmexit_sim.probe.worker`` reads JSON objects from its standard input and writes JSON
objects to its standard output. It ends when its input does, or when its parent dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from vmexit_sim.errors import NoKvm
from vmexit_sim.probe import composites
from vmexit_sim.probe.kvm import Kvm
from vmexit_sim.probe.probes import Measured, measure_probe, probe_named

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies."""


def obey(kvm: Kvm, order: dict[str, Any]) -> Measured:
    """Measure what an order asks for.

    Args:
        kvm: the device.
        order: "do" says what; "blocks" how many; the rest are its parameters.

    Raises:
        ValueError: no such thing can be done.
    """
    do, blocks = order["do"], int(order["blocks"])
    if do == "probe":
        probe = probe_named(order["name"], order.get("vendor", ""))
        return measure_probe(kvm, probe, blocks=blocks, iterations=order.get("iterations"))
    if do == "loop":
        return composites.measure_loop(kvm, blocks=blocks)
    if do == "spin":
        return composites.measure_spin(kvm, order["rounds"], blocks=blocks)
    if do == "handler":
        return composites.measure_handler(order["name"], order["hold"], blocks=blocks)
    if do == "spread":
        return composites.measure_spread(kvm, order["rounds"], blocks=blocks)
    if do == "batched":
        return composites.measure_batched(kvm, order["rounds"], order["items"], blocks=blocks)
    if do == "read mostly":
        return composites.measure_read_mostly(kvm, blocks=blocks)
    if do == "locked":
        return composites.measure_locked(kvm, order["hold"], blocks=blocks)
    raise ValueError(f"nobody knows how to do {do!r}")


def main() -> None:
    """Take orders until there are no more."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        return
    try:
        with Kvm() as kvm:
            _say({"ready": True})
            for line in sys.stdin:
                _say(asdict(obey(kvm, json.loads(line))))
    except NoKvm as error:
        _say({"no_kvm": str(error)})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
