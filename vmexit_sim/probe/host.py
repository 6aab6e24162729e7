"""Which host it is: without that a measurement is worth nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What a reader of the figures must know of the host.

    Attributes:
        cpu: the CPU's model.
        vendor: its vendor, as CPUID has it.
        kernel: release of the kernel.
        module: the KVM implementation ("kvm_intel", "kvm_amd", …); "": not known.
        nested: whether the host says that it is a guest itself.
        cpus: CPUs that this process may use.
        load: runnable threads of the last minute.
        began: when the figures were taken, ISO 8601, UTC.
    """

    cpu: str
    vendor: str
    kernel: str
    module: str
    nested: bool
    cpus: int
    load: float
    began: str

    @property
    def text(self) -> str:
        """All of it in one line."""
        parts = [
            self.cpu or "CPU not known",
            f"Linux {self.kernel}",
            self.module or "KVM",
            *(["itself a guest"] if self.nested else []),
            f"{self.cpus} CPU{'s' * (self.cpus != 1)}, load {self.load:.1f}",
            self.began,
        ]
        return "; ".join(parts)


CPUINFO, MODULES = Path("/proc/cpuinfo"), Path("/sys/module")


def this_host(cpuinfo: Path = CPUINFO, modules: Path = MODULES) -> HostFacts:
    """The host that this runs on, now.

    Args:
        cpuinfo: where the kernel describes the CPUs.
        modules: where it lists its modules.
    """
    known: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            known.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    found = sorted(path.name for path in modules.glob("kvm_*"))
    return HostFacts(
        cpu=known.get("model name", ""),
        vendor=known.get("vendor_id", ""),
        kernel=platform.release(),
        module=", ".join(found),
        nested="hypervisor" in known.get("flags", "").split(),
        cpus=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[0],
        began=datetime.now(UTC).isoformat(timespec="seconds"),
    )
