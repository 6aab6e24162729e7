"""What holds on a host with KVM: which accesses exit, and which are cheap.

Skipped where there is no /dev/kvm that may be used. Times are compared within one survey only, and
ratios are asserted far below what any host gave.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vmexit_sim.errors import NoKvm
from vmexit_sim.probe import probes as p
from vmexit_sim.probe.children import Child
from vmexit_sim.probe.composites import HOLD, LOCKED, LOOP
from vmexit_sim.probe.kvm import Kvm
from vmexit_sim.probe.survey import Survey, survey

try:
    Kvm().close()
    WHY = ""
except NoKvm as error:
    WHY = str(error)

pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY)

WANTED = (
    p.PORT_WRITE, p.MMIO_WAS_READ, p.PAGE_WAS_READ, p.PAGE_WRITTEN, p.COALESCED, p.PORT_EVENTFD,
    p.STRING_IN, p.doorbell(16),
)  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Survey:
    return survey(blocks=8, rounds=2, only=lambda name: name in WANTED)


def measured(host: Survey, *names: str) -> None:
    """Skip where one of these probes cannot be measured."""
    for name in names:
        found = host.measured[name]
        if found.verdict != "measured":
            pytest.skip(f"{name}: {found.verdict}, {found.why}")


def test_a_read_of_a_read_only_page_is_five_times_cheaper_than_an_mmio_read(host: Survey) -> None:
    measured(host, p.MMIO_WAS_READ, p.PAGE_WAS_READ)
    ratio = host.ratio(p.MMIO_WAS_READ, p.PAGE_WAS_READ)
    assert ratio is None or ratio.value >= 5  # None: the load takes no time over the loop


def test_an_ioeventfd_is_cheaper_than_an_exit_to_user_space(host: Survey) -> None:
    measured(host, p.PORT_WRITE, p.PORT_EVENTFD)
    ratio = host.ratio(p.PORT_WRITE, p.PORT_EVENTFD)
    assert ratio is None or ratio.value > 1.3


@pytest.mark.parametrize(
    ("name", "reason", "exits"),
    [
        (p.PORT_WRITE, "IO", 1),
        (p.MMIO_WAS_READ, "MMIO", 1),
        (p.PAGE_WRITTEN, "MMIO", 1),
        (p.PAGE_WAS_READ, "MMIO", 0),
        (p.PORT_EVENTFD, "IO", 0),
        (p.doorbell(16), "IO", 1),
    ],
)
def test_an_access_makes_the_exits_it_should(
    host: Survey, name: str, reason: str, exits: int
) -> None:
    measured(host, name)
    assert host.measured[name].exits.get(reason, 0) == exits
    assert host.measured[name].exits_per_iteration == exits


def test_every_item_reaches_the_device_once(host: Survey) -> None:
    measured(host, p.doorbell(16), p.COALESCED, p.STRING_IN)
    assert host.measured[p.doorbell(16)].items == 16
    assert host.measured[p.COALESCED].items == 1
    assert host.measured[p.STRING_IN].items == p.STRING_ITEMS


def test_a_ring_of_coalesced_writes_exits_when_it_is_full(host: Survey) -> None:
    measured(host, p.COALESCED)
    found = host.measured[p.COALESCED]
    fullest = found.iterations // 170  # of 169 entries; what is left at a run's end exits no more
    assert found.exits_per_iteration == pytest.approx(fullest / found.iterations, rel=0.5, abs=1e-3)


def test_two_vcpus_take_turns_under_the_lock() -> None:
    with Child() as child:
        free, held = (
            child.ask({"do": "locked", "name": LOCKED, "hold": hold, "blocks": 3})
            for hold in (0, 20_000)
        )
        work = child.ask({"do": "handler", "name": HOLD, "hold": 20_000, "blocks": 5})
    if not (free.whole and held.whole):
        pytest.skip(f"{LOCKED}: {free.why or held.why}")
    assert free.items == held.items == 2
    assert min(held.whole) > 1.8 * min(work.whole)  # an iteration is one access of each
    assert min(held.whole) > min(free.whole)


def test_nothing_is_left_behind(host: Survey) -> None:
    descriptors = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir()
                   if each.is_symlink()]  # fmt: skip
    assert not [each for each in descriptors if "kvm" in each]
    assert host.measured[LOOP].verdict == "measured"
