"""The platform that gives what was not measured: one hypervisor on a host."""

from __future__ import annotations

from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Platform


def check_base(platform: Platform) -> None:
    """Refuse a platform whose costs are not what a measured exit's time consists of.

    Raises:
        InputError: it has no hypervisor, or one below its own, so that its exits are multiplied.
    """
    if platform.native_only or platform.nesting is not None:
        what = "no hypervisor" if platform.native_only else "a hypervisor below its own"
        raise InputError(f"has {what}, so its costs are not what an exit's time consists of",
                         key="base", value=platform.name, mend="take kvm-2017")  # fmt: skip
