"""Guests that figures are tested on, and what may not be in a figure."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from vmexit_sim.configuration import checked
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.scenario import Scenario

MANY = ("linux-default", "mmio-first", "read-only-pages", "absent-page", "hypercall",
        "batched-recorded", "batched-idioms", "size-bar-hypercall", "xen-front-end")  # fmt: skip
POSTED = ("linux-default", "vhost", "spdk-like", "qemu-kvm")


def scenario(guest: dict[str, Any], policies: tuple[str, ...], **more: Any) -> Opened:
    blocks = [{"name": "g", "guest": guest}]
    stated = {"policies": list(policies), "blocks": blocks, **more}
    return open_scenario(checked(Scenario, stated))


@cache
def recorded(policies: tuple[str, ...] = MANY) -> Opened:
    """The BAR sizings of a recorded scan: 848 accesses, nothing left to chance."""
    block = {"name": "g", "guest": {"trace": "pci-scan-q35"}, "only": ["bar_sizing"]}
    return open_scenario(checked(Scenario, {"policies": list(policies), "blocks": [block]}))


@cache
def contended(replications: int = 7) -> Opened:
    """Three vCPUs that wait for the VMM's lock."""
    guest = {"kind": "spread", "operations": 150, "vcpus": 3, "read_share": 0.5, "space": "mmio",
             "between": {"kind": "exponential", "mean": "4 us"},
             "emulate": {"kind": "exponential", "mean": "2 us"}}  # fmt: skip
    return scenario(guest, ("linux-default", "hypercall"), replications=replications)


@cache
def requests(policies: tuple[str, ...] = POSTED, replications: int = 7) -> Opened:
    """Requests in flight to a device that a thread or core serves."""
    guest = {"kind": "request_response", "requests": 200, "in_flight": 4,
             "think": {"kind": "exponential", "mean": "5 us"},
             "service": {"kind": "exponential", "mean": "2 us"}}  # fmt: skip
    return scenario(guest, policies, replications=replications)


def faults(figure: Figure) -> list[str]:
    """What is wrong with a figure's words: they overlap, leave the canvas, or lack a unit."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), box) for text, box in _words(figure)]
    found = [f"{one!r} over {other!r}" for (one, a), (other, b) in combinations(boxes, 2)
             if _overlap(a, b)]  # fmt: skip
    for word, box in boxes:
        inside = figure.bbox
        if min(box.x0 - inside.x0, box.y0 - inside.y0, inside.x1 - box.x1,
               inside.y1 - box.y1) < -0.5:  # fmt: skip
            found.append(f"{word!r} leaves the canvas")
    found += [f"{text.get_text()!r} in {text.get_fontsize()} pt" for text, _ in _words(figure)
              if text.get_fontsize() < 6.5]  # fmt: skip
    for ax in figure.axes:
        found += _without_unit(ax)
    for legend in figure.legends:
        box = legend.get_window_extent()
        found += ["the legend covers data" for ax in figure.axes
                  if _overlap(box, ax.get_window_extent())]  # fmt: skip
    return found


def _words(figure: Figure) -> list[tuple[Text, Bbox]]:
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    shown = []
    for ax in figure.axes:
        for axis, low, high in ((ax.xaxis, *ax.get_xlim()), (ax.yaxis, *ax.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                out = not min(low, high) <= tick.get_loc() <= max(low, high)
                drop = [tick.label1, tick.label2] if out else []
                texts = [text for text in texts if text not in drop]
    for text in texts:
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            if box.width > 0:
                shown.append((text, box))
    return shown


def _overlap(one: Bbox, other: Bbox) -> bool:
    """Whether boxes share more than half a pixel either way."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(width > 0.5 and height > 0.5)


def _without_unit(ax: Axes) -> list[str]:
    """Labels of axes with numbers that end in no bracketed unit."""
    pairs = [(ax.get_xlabel(), ax.get_xticklabels()), (ax.get_ylabel(), ax.get_yticklabels())]
    found = []
    for label, ticks in pairs:
        has_numbers = any(tick.get_text()[:1].isdigit() for tick in ticks)
        if label and has_numbers and not (")" in label and "(" in label):
            found.append(f"{label!r} has no unit")
    return found
