"""What a mechanism is: a way of reaching a device, lowered to steps.

A mechanism is a small frozen model: its fields are its parameters (as policy files state them),
its methods yield steps. It registers under its name and is then available to every policy, on
every engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vmexit_sim.configuration import Configured, checked
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest.table import AccessTable, Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.steps import Steps


class SideActor(NamedTuple):
    """An actor beside the vCPUs.

    Attributes:
        name: for people.
        per_vcpu: whether there is one for each vCPU.
        steps: what it does.
        is_thread: whether it is a thread that needs a CPU of the host to run, as `Host.thread` and
            `Host.sleep_on` have it; a timer is none.
    """

    name: str
    per_vcpu: bool
    steps: Steps
    is_thread: bool = True


class History(Protocol):
    """What a mechanism remembers of one vCPU's accesses, in program order.

    Only what program order decides belongs here: it is asked before anything runs.
    """

    def hits(self, table: AccessTable, own: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which accesses hit, and remember them.

        Args:
            table: the vCPU's next block.
            own: which of its rows go by the mechanism.
        """


class Mechanism(Configured):
    """Base of all mechanisms: override `access`, and what else applies.

    Attributes:
        by_operation: whether it asks if an access is the first or last of its operation.
        by_device: whether it asks which device an access goes to.
        cores_spent: cores of the host that do nothing but poll for it.
        spaces: the spaces whose accesses it can be; None: any.
    """

    by_operation: ClassVar[bool] = False
    by_device: ClassVar[bool] = False
    cores_spent: ClassVar[int] = 0
    spaces: ClassVar[frozenset[Space] | None] = None

    @property
    def by_ecam(self) -> bool:
        """Whether it reaches config space through ECAM, which an old machine lacks."""
        return False

    @property
    def interrupts(self) -> bool:
        """Whether it may interrupt the guest, which then looks for interrupts as it computes."""
        return False

    @property
    def outstanding(self) -> int:
        """The most accesses of a vCPU that it can leave without their effect at a time."""
        return 1

    def new_history(self) -> History | None:
        """An empty memory of the accesses before, which says for each access whether it hits.

        None: it has none, and `AccessClass.hit` is never set.
        """
        return None

    def access(self, host: Host, access: AccessClass) -> Steps:
        """One access of the given class, from the vCPU's point of view."""
        raise NotImplementedError  # pragma: no cover - abstract

    def before_others(self, host: Host) -> Steps:
        """What an access by another mechanism on the same vCPU must do first."""
        yield from ()

    def before_halt(self, host: Host) -> Steps:
        """What happens before the vCPU goes idle, and at its end."""
        yield from ()

    def at_end(self, host: Host) -> Steps:
        """What happens after the vCPU's last access; by default what happens before it idles."""
        yield from self.before_halt(host)

    def in_user_space(self, host: Host, access: AccessClass | None) -> Steps:
        """What the VMM does first, its lock held, when any exit has brought it to user space.

        Args:
            host: the host.
            access: what the exit is for; None: for no single access (a batch, say).
        """
        yield from ()

    def serve_interrupt(self, host: Host) -> Steps:
        """What the vCPU does when this mechanism has interrupted it."""
        yield from ()

    def actors(self, host: Host) -> Iterable[SideActor]:
        """Actors that the mechanism needs."""
        return ()


MECHANISMS: dict[str, type[Mechanism]] = {}
"""Every registered mechanism, by name."""

M = TypeVar("M", bound=type[Mechanism])


def register(name: str) -> Any:
    """Class decorator: make a mechanism available to policies under `name`."""

    def registered(mechanism: M) -> M:
        MECHANISMS[name] = mechanism
        return mechanism

    return registered


def name_of(mechanism: Mechanism) -> str:
    """The name that a mechanism is registered under."""
    return next(name for name, known in MECHANISMS.items() if known is type(mechanism))


def make_mechanism(stated: object, file: object = None, key: str | None = None) -> Mechanism:
    """A mechanism from what a policy file states: a name, or a table with `name` and parameters.

    Raises:
        InputError: no such mechanism, or parameters that do not fit.
    """
    table = {"name": stated} if isinstance(stated, str) else stated
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise InputError("is no mechanism", file=file, key=key, value=stated,
                         mend='write its name, or {name = "…", …}')  # fmt: skip
    name = table["name"]
    if name not in MECHANISMS:
        raise InputError("is no mechanism", file=file, key=key, value=name,
                         mend=nearest(name, MECHANISMS))  # fmt: skip
    parameters = {field: value for field, value in table.items() if field != "name"}
    return checked(MECHANISMS[name], parameters, file=file, key=key)
