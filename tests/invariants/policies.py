"""Random policies: any mechanism with any parameters that fit, for any accesses that it is for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.idle import Idle
from vmexit_sim.mechanisms import MECHANISMS, make_mechanism
from vmexit_sim.policy import Match, Policy, Rule

Stated = dict[str, Any]

SOME_TIME = st.sampled_from(["500 ns", "1 us", "2500 ns", "6 us", "25 us"])
VIA = ["recorded", "hypercall", "trap_mmio", "trap_pio"]
NEVER_OR_TIME = st.none() | SOME_TIME


@st.composite
def rings(draw: st.DrawFn, **own: st.SearchStrategy[Any]) -> Stated:
    """Parameters that mechanisms with rings share, and a mechanism's own."""
    stated = {
        "label": draw(st.sampled_from(["", "", "b"])),
        "queues": draw(st.sampled_from(["vcpu", "guest"])),
        "depth": draw(st.sampled_from([256, 1, 2, 5])),
        "notify": draw(st.sampled_from(["event_idx", "flag", "always"])),
        "completions": draw(st.sampled_from(["interrupt", "interrupt", "polled", "none"])),
        "kick": draw(st.sampled_from(["ioeventfd", "user"])),
        "datamatch": draw(st.booleans()),
    }
    if stated["completions"] == "interrupt":
        stated["waiting"] = draw(st.sampled_from(["spin", "sleep"]))
        match draw(st.sampled_from(["each", "held", "ratio"])):
            case "held":
                stated["interrupt_count"] = draw(st.integers(2, 4))
                stated["interrupt_timer"] = draw(SOME_TIME)
            case "ratio":
                stated["interrupt_ratio"] = "commands_in_flight"
    for name, strategy in own.items():
        stated[name] = draw(strategy)
    if stated.get("idle_off") is not None:
        stated["on_above"] = draw(st.sampled_from([None, 102_400, 1_024_000]))
    return {name: value for name, value in stated.items() if value is not None}


def fields(**parameters: st.SearchStrategy[Any]) -> st.SearchStrategy[Stated]:
    """Parameters of a mechanism; None leaves one out."""
    drawn = st.fixed_dictionaries(parameters)
    return drawn.map(lambda stated: {k: v for k, v in stated.items() if v is not None})


PARAMETERS: dict[str, st.SearchStrategy[Stated]] = {
    "batched_hypercall": fields(
        max_batch=st.sampled_from([2, 3, 5, 32, 1]), max_wait=NEVER_OR_TIME | st.just("0 ns"),
        needs=st.sampled_from(["recorded", "idioms", "oracle"]),
        flush_at_operation_end=st.booleans(),
    ),
    "cached": fields(
        via=st.sampled_from(VIA), invalidate=st.sampled_from(["register", "function"]),
        line=st.sampled_from(["dword", "byte"]), volatile=st.booleans(),
    ),
    "coalesced_mmio": fields(
        entries=st.sampled_from([3, 2, 5, 170]), drained_by=st.sampled_from(["region", "any"]),
        regions=st.sampled_from([(), ("pit",)]),
    ),
    "decode_toggle_batching": fields(via=st.sampled_from(VIA)),
    "instruction_cluster": fields(
        within=st.sampled_from(["1 us", "0 ns", "20 us"]), max_cluster=st.sampled_from([16, 1, 3]),
        translated_in=st.sampled_from(["kernel", "user"]),
    ),
    "ioeventfd": st.sampled_from(["value", "wildcard", "zero_length"]).flatmap(
        lambda match: fields(
            match=st.just("value" if match == "value" else "wildcard"),
            zero_length=st.just(match == "zero_length"),
            thread=st.sampled_from(["iothread", "main_loop"]), merge=st.booleans(),
            depth=st.sampled_from([1, 2, 256]),
        )
    ),
    "native": fields(config=st.sampled_from(["recorded", "port", "mmio"])),
    "pv_ipi": fields(targets=st.sampled_from([128, 1, 3])),
    "side_core": rings(burst=st.sampled_from([None, 1, 2]), idle_off=NEVER_OR_TIME),
    "virtqueue": rings(),
}  # fmt: skip


@st.composite
def rules(draw: st.DrawFn, name: str) -> Rule:
    """A rule with that mechanism, which matches only what it is for."""
    stated = {"name": name, **draw(PARAMETERS.get(name, st.just({})))}
    spaces = MECHANISMS[name].spaces
    if stated.get("via") == "trap_pio":
        spaces = frozenset({Space.PCI_CONFIG, Space.PORT_IO})
    match = dict(draw(st.sampled_from(MATCHES)))
    if spaces is not None:
        match["space"] = sorted(space.name.lower() for space in spaces)
    side = draw(st.sampled_from(["host", "host", "guest"]))
    return Rule(side=side, match=Match(**match), mechanism=make_mechanism(stated))


MATCHES: list[Stated] = [
    *[{}] * 8, {"space": ["mmio", "doorbell"]}, {"space": ["pci_config"]}, {"write": True},
    {"write": False}, {"kind": ["ipi", "bar_sizing", "interrupt_service"]}, {"device": ["nvme"]},
    {"absent": True}, {"side_effect": False},
]  # fmt: skip


@st.composite
def idles(draw: st.DrawFn) -> Idle:
    """How a vCPU waits."""
    guest = draw(st.sampled_from(["free", "halt", "poll"]))
    stated: Stated = {"guest": guest}
    for side in ("guest_poll", "host_poll") if guest == "halt" else ():
        stated[side] = {
            "window": draw(st.sampled_from(["never", "always", "dynamic"])),
            "longest": draw(st.sampled_from(["40 us", "2 us"])),
            "grow_start": draw(st.sampled_from(["2 us", "500 ns"])),
            "grow": draw(st.integers(1, 3)),
            "shrink": draw(st.integers(0, 2)),
        }
    return checked(Idle, stated)


@st.composite
def policies(draw: st.DrawFn, first: str | None = None) -> Policy:
    """Up to three rules; the first has the mechanism that is asked for."""
    known = st.sampled_from(list(MECHANISMS))
    names = [draw(known) if first is None else first, *draw(st.lists(known, max_size=2))]
    return Policy(
        title=", ".join(names),
        delivery=draw(st.sampled_from(["exit", "posted"])),
        idle=draw(idles()),
        rules=[draw(rules(name)) for name in names],
    )
