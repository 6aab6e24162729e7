"""One colour for each policy and each part of an exit, the same in every figure.

The hues are those of palettes made for colour-blind readers: Okabe and Ito's "Color Universal
Design" (2008), and P. Tol's "muted" and "bright" schemes (2021). Kin have kindred hues: ports and
MMIO are warm, pages blue, calls green, batches purple.
"""

from __future__ import annotations

from binascii import crc32

BLACK = "#000000"
GREY = "#777777"

POLICIES = {
    "linux-default": "#D55E00",
    "mmio-first": "#E69F00",
    "read-only-pages": "#0072B2",
    "absent-page": "#56B4E9",
    "late-detection": "#332288",
    "hypercall": "#009E73",
    "size-bar-hypercall": "#117733",
    "batched-recorded": "#EAA8CE",
    "batched-idioms": "#CC79A7",
    "batched-oracle": "#882255",
    "batched-full": "#6A3D9A",
    "xen-front-end": "#999933",
    "qemu-kvm": "#44AA99",
    "firecracker-like": "#AA4499",
    "vmware": "#6699CC",
    "assigned-devices": "#661100",
    "config-cache": "#4477AA",
    "batched-toggles": "#AA4466",
    "clustered-ports": "#DDCC77",
    "pv-ipi": "#BBCC33",
    "vhost": "#EE6677",
    "spdk-like": "#228833",
    "bare-metal": GREY,
    "halt-poll-never": "#88CCEE",
    "halt-poll-dynamic": "#0F8B8D",
    "halt-poll-always": "#CC6677",
    "guest-halt-poll": "#A06CD5",
    "idle-poll": BLACK,
}
"""The shipped policies' colours."""

OTHERS = ("#66CCEE", "#A6761D", "#7570B3")
"""Colours of policies that do not ship; a name always gets the same one."""

PARTS = {
    "world switch": "#0072B2",
    "dispatch": "#56B4E9",
    "decode": "#E69F00",
    "user space and back": "#D55E00",
    "device emulation": "#009E73",
    "state change": BLACK,
    "waiting": "#999999",
    "carried along": "#DDCC77",
    "interrupts": "#332288",
    "L0": "#882255",
    "guest's own part": "#CC79A7",
    "until its posting or effect": "#7570B3",
    "until it first goes on": "#A6761D",
}
"""The parts of an exit that figures tell apart, in the order in which an exit passes them."""

_PART_OF = {
    "world switch out": "world switch",
    "world switch in": "world switch",
    "batch item": "dispatch",
    "ring entry": "dispatch",
    "ring item": "dispatch",
    "eventfd signal": "dispatch",
    "to user space": "user space and back",
    "back to kernel": "user space and back",
    "page refresh": "device emulation",
    "injection": "interrupts",
    "end of interrupt": "interrupts",
    "L0: forwarding": "L0",
    "L0: exits of L1": "L0",
    "IPI delivery": "device emulation",
    "gather": "guest's own part",
    "cache hit": "guest's own part",
    "page load": "guest's own part",
    "pick up answer": "guest's own part",
    "reap": "guest's own part",
    "native access": "guest's own part",
    "back end emulation": "device emulation",
    "back end state change": "state change",
    "handler": "device emulation",
    "thread runs handler": "device emulation",
    "carried with batch": "carried along",
    "drained with ring": "carried along",
    "back end wake-up": "waiting",
    "back end wait: CPU": "waiting",
    "thread asleep": "waiting",
    "thread wake-up": "waiting",
    "thread waits: CPU": "waiting",
    "thread waits: VMM lock": "waiting",
}


REASONS = {
    "IO_INSTRUCTION": "#D55E00",
    "EPT_MISCONFIG": "#E69F00",
    "EPT_VIOLATION": "#0072B2",
    "VMCALL": "#009E73",
    "EXTERNAL_INTERRUPT": "#332288",
    "APIC_ACCESS": "#88CCEE",
    "APIC_WRITE": "#44AA99",
    "MSR_WRITE": "#CC79A7",
    "MSR_READ": "#882255",
    "HLT": "#999933",
}
"""Colours of exit reasons: those of the policies that mainly exit for them."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#882255")
"""Colours in order, for what has no colour of its own (Okabe and Ito's, and one of Tol's)."""


def reason_colour(reason: str) -> str:
    """The colour of an exit reason, by its name in ``perf kvm stat``."""
    return REASONS.get(reason) or OTHERS[crc32(reason.encode()) % len(OTHERS)]


def policy_colour(name: str) -> str:
    """The colour of a policy, by its name."""
    return POLICIES.get(name) or OTHERS[crc32(name.encode()) % len(OTHERS)]


def part_of(stage: str) -> str:
    """The part of an exit that a stage belongs to, by the stage's name.

    A stage that no mechanism of this package has is a part of its own.
    """
    return "waiting" if stage.startswith("wait") else _PART_OF.get(stage, stage)


def part_colour(part: str) -> str:
    """The colour of a part of an exit."""
    return PARTS.get(part) or OTHERS[crc32(part.encode()) % len(OTHERS)]
