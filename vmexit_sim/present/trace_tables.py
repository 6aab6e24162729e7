"""What a recorded guest did, as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import count_text, share_text


def trace_report(name: str, info: dict[str, Any]) -> RenderableType:
    """The document of ``trace info`` for people.

    Args:
        name: what was asked for.
        info: the document.
    """
    config = info["config"]
    reads = config["pio"]["read"] + config["ecam"]["read"]
    vcpus = ", ".join(f"vCPU {vcpu}: {count_text(n)}" for vcpu, n in info["vcpus"].items())
    lines = ""
    if info["messages"] is not None:
        lines = (f"; {count_text(info['messages'])} interrupt messages; "
                 f"{count_text(info['bad_lines'])} malformed lines")  # fmt: skip
    head = [
        Text(name, style="bold"),
        Text(f"{count_text(info['vcpu_accesses'])} accesses ({vcpus}){lines}"),
        *(
            Text(f"  line {bad['line']} {bad['reason']}")
            for bad in info.get("first_bad_lines", [])
        ),
    ]  # fmt: skip
    methods = rows(
        "Config space",
        ["by", "reads", "writes"],
        [
            [way, count_text(config[key]["read"]), count_text(config[key]["write"])]
            for key, way in (("pio", "ports"), ("ecam", "ECAM"))
        ],
    )
    absent = share_text(config["absent_reads"] / reads) if reads else "0 %"
    notes = [
        Text(f"{count_text(config['absent_reads'])} reads of absent functions ({absent} of reads); "
             f"{count_text(config['port_exits'])} port accesses, each an exit"),
    ]  # fmt: skip
    found = rows(
        "Operations found",
        ["kind", "number", "accesses", "longest"],
        [
            [kind, *(count_text(info[key][kind]) for key in _OPERATIONS)]
            for kind in info["operations"]
        ],
    )
    phases = rows(
        "Phases",
        ["phase", "accesses", "of these config"],
        [[p["phase"], count_text(p["accesses"]), count_text(p["config"])] for p in info["phases"]],
    )
    agents = rows("Whose code (rows of the table)", ["agent", "accesses"],
                  [[agent, count_text(n)] for agent, n in info["agents"].items()])  # fmt: skip
    devices = rows(
        "Devices",
        ["device", "reads", "writes"],
        [
            [device, count_text(n["read"]), count_text(n["write"])]
            for device, n in sorted(
                info["by_device"].items(), key=lambda item: -sum(item[1].values())
            )
        ],
    )
    gap = Text()
    return Group(*head, gap, methods, *notes, gap, found, gap, phases, gap, agents, gap, devices)


_OPERATIONS = ("operations", "operation_accesses", "longest_operations")
