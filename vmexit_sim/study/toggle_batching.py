"""What batched BAR sizing saves, and from which cost of a decode toggle on.

The batched sequence reads each register once more and writes COMMAND less often. With R and W the
config reads and writes by ports, T the toggles of a function, and t_r, t_w, t_s their costs::

    saved = (R_old - R_new)·t_r + (W_old - W_new)·t_w + (T_old - T_new)·t_s

linear in t_s. A function that does not decode when it is scanned is never toggled, so it only
loses the reads. Of functions of which a share p decodes, batching pays from that t_s on at which
p·saved(decoding) + (1 - p)·saved(not decoding) = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.policy import load_policy
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import SECOND

PLATFORM, POLICY = "kvm-2017", "linux-default"


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Config accesses that size the BARs of one function."""

    reads: int
    writes: int
    toggles: int


def counted(sequence: str, bars64: int, *, decodes: bool) -> Counted:
    """Count a kernel's sequence: `BarSizing`'s ``old`` or ``batched``, six slots and a ROM."""
    table = _guest(sequence, bars64, decodes).examples()
    writes = int(table.write.sum())
    toggles = int(table.has(Flag.DECODE_TOGGLE).sum())
    return Counted(reads=len(table) - writes, writes=writes, toggles=toggles)


def gain(bars64: int, toggle: float, *, decodes: bool) -> tuple[float, float]:
    """What batching saves for one function, in s: simulated, and in closed form.

    Args:
        bars64: its 64-bit BARs.
        toggle: what turning decoding on or off costs, in s.
        decodes: whether it decodes when it is scanned.
    """
    return _simulated(bars64, toggle, decodes), _closed(bars64, toggle, decodes)


def break_even(bars64: int, share: float) -> tuple[float, float]:
    """The cost of a toggle (s) from which batching pays: simulated, and in closed form.

    The simulated one is the line through the savings at 0 and at 1 s; negative: it pays though a
    toggle is free.

    Args:
        bars64: 64-bit BARs of each function.
        share: the part of the functions that decodes when it is scanned.
    """
    zeros = []
    for saved in (_simulated, _closed):
        free, dear = (
            share * saved(bars64, cost, True) + (1 - share) * saved(bars64, cost, False)
            for cost in (0.0, 1.0)
        )
        zeros.append(-free / (dear - free))
    return zeros[0], zeros[1]


def _guest(sequence: str, bars64: int, decodes: bool) -> BarSizing:
    stated = {"kind": "bar_sizing", "sequence": sequence, "bars64": bars64, "rom": True,
              "decode_on": decodes}  # fmt: skip
    return checked(BarSizing, stated)


@cache
def _simulated(bars64: int, toggle: float, decodes: bool) -> float:
    platform = load_platform(PLATFORM, changes={"state_change": f"{round(toggle * SECOND)} ps"})
    old, new = (
        simulate(load_policy(POLICY), platform, _guest(sequence, bars64, decodes)).completion
        for sequence in ("old", "batched")
    )
    return (old - new) / SECOND


@cache
def _closed(bars64: int, toggle: float, decodes: bool) -> float:
    costs = load_platform(PLATFORM).costs
    exit_ps = sum(
        costs.duration(name).mean_ps
        for name in ("world_switch_out", "dispatch_port", "to_user", "to_kernel", "world_switch_in")
    )
    read_in, write_out = (costs.duration(f"decode_port_{way}").mean_ps for way in ("in", "out"))
    read, write = 2 * exit_ps + write_out + read_in, 2 * exit_ps + 2 * write_out
    old, new = (counted(name, bars64, decodes=decodes) for name in ("old", "batched"))
    accesses = (old.reads - new.reads) * read + (old.writes - new.writes) * write
    return accesses / SECOND + (old.toggles - new.toggles) * toggle
