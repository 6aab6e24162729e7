"""Generators: guests described by a few parameters instead of a recording.

Each is data read from a file, told apart by its `kind`, and a `Workload`: it makes its access
table block by block.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from vmexit_sim.guest.generators.bar_sizing import BarSizing
from vmexit_sim.guest.generators.enumeration import Enumeration, Function
from vmexit_sim.guest.generators.interrupted import Interrupted
from vmexit_sim.guest.generators.interrupts import InterruptService
from vmexit_sim.guest.generators.ipi import Ipi
from vmexit_sim.guest.generators.requests import RequestResponse
from vmexit_sim.guest.generators.spread import Spread

__all__ = [
    "BarSizing", "Enumeration", "Function", "Generator", "InterruptService", "Interrupted",
    "Ipi", "RequestResponse", "Spread",
]  # fmt: skip

Generator = Annotated[
    Spread | BarSizing | Enumeration | InterruptService | Interrupted | Ipi | RequestResponse,
    Discriminator("kind"),
]
"""Any of them, as files state it: a table with a `kind`."""
