"""A comparison with its calibration's uncertainty, in a terminal and as data."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import share_text, time_text
from vmexit_sim.study.input_uncertainty import InputUncertainty, UncertainBlock


def uncertainty_report(found: InputUncertainty) -> RenderableType:
    """What ``compare --input-uncertainty`` adds to a comparison."""
    fixed = f"; taken as they are: {', '.join(found.fixed)}" if found.fixed else ""
    return Group(
        Text("With the calibration's uncertainty", style="bold"),
        Text(f"{found.draws} draws of {len(found.drawn)} costs: {', '.join(found.drawn)}{fixed}"),
        *(part for block in found.blocks for part in (Text(), _table(block), Text(_said(block)))),
    )


def _table(block: UncertainBlock) -> RenderableType:
    first = block.policies[0].policy
    return rows(
        f"{block.name}: intervals hold sampling and calibration",
        ["policy", "time added", f"less {first}'s", "by sampling alone", "adds least in"],
        [
            (each.policy + "°" * (each.best is None), time_text(each.added),
             time_text(each.difference), time_text(each.sampling),
             "-" if each.best is None else share_text(each.best))
            for each in block.policies
        ],
    )  # fmt: skip


def _said(block: UncertainBlock) -> str:
    shares = {each.policy: each.best for each in block.policies if each.best is not None}
    if not shares:
        return "None of these policies is one that this guest could use."
    best = max(shares, key=shares.__getitem__)
    said = f"{best} adds least in {share_text(shares[best])} of the draws"
    others = [name for name, share in shares.items() if name != best and share]
    marked = " °: a bound, or not for this guest." * (len(shares) < len(block.policies))
    return f"{said}; else {', '.join(others)}.{marked}" if others else f"{said}.{marked}"


def document(found: InputUncertainty) -> dict[str, Any]:
    """The same as data; times in ps."""
    return {
        "draws": found.draws,
        "drawn_costs": found.drawn,
        "fixed_costs": found.fixed,
        "blocks": [
            {
                "block": block.name,
                "policies": [
                    {
                        "policy": each.policy,
                        "hypervisor_time_ps": each.added.as_json(),
                        "difference_to_first_ps": each.difference.as_json(),
                        "by_sampling_alone_ps": each.sampling.as_json(),
                        "adds_least_in": each.best,
                    }
                    for each in block.policies
                ],
            }
            for block in found.blocks
        ],
    }
