"""A report's account of the platform: every cost with its source, and those nobody published."""

from __future__ import annotations

from vmexit_sim.hypervisor.platform import MARKS, Cost, Platform
from vmexit_sim.present.documents import cost_value
from vmexit_sim.present.provenance_tables import interval_text, meaning
from vmexit_sim.present.report_tables import ReportTable


def platform_table(platform: Platform) -> ReportTable:
    """Every cost of a platform: what it is, value, interval, mark, source."""
    rows = [(name, meaning(name), *_cost_cells(cost)) for name, cost in platform.costs.items()]
    if (nesting := platform.nesting) is not None:
        rows += [
            ("nesting: forward", "L0 taking an exit of L2 to L1, and the resumption back",
             *_cost_cells(nesting.forward)),
            ("nesting: l1_exit", "one exit of L1 to L0 and back", *_cost_cells(nesting.l1_exit)),
            ("nesting: exits", "exits of L1 for each exit of L2; on its way to user space",
             f"{nesting.exits}; {nesting.user_exits} more", "-", "-",
             nesting.exits_source),
        ]  # fmt: skip
    clock = f"{platform.clock / 1e9:.6g} GHz"
    rows += [
        ("clock", "what cycles are counted in", clock, "-", platform.clock_mark,
         platform.clock_source),
        ("VMM lock", "who gets the VMM's lock next", platform.vmm_lock.discipline, "-", "-",
         platform.vmm_lock.source),
    ]  # fmt: skip
    used = {row[4] for row in rows}
    return ReportTable(
        title=f"The costs of {platform.name}, each for one occurrence",
        headings=("cost", "what it is for", "value", "95 % interval", "mark", "source"),
        rows=tuple(rows),
        notes=("95 % interval: of the cost's mean, where a calibration states one.",
               *(f"[{mark}] {text}" for mark, text in MARKS.items() if mark in used)),
        is_prose=True,
    )  # fmt: skip


def weak_costs(platform: Platform) -> list[tuple[str, str]]:
    """The costs that nobody published: names by what they are worth."""
    costs: list[tuple[str, Cost]] = list(platform.costs.items())
    if platform.nesting is not None:
        costs += [("nesting: forward", platform.nesting.forward),
                  ("nesting: l1_exit", platform.nesting.l1_exit)]  # fmt: skip
    kinds = (("A", "Assumed [A], nobody published them"),
             ("M", "Recalled [M], priors to sweep and never targets"))  # fmt: skip
    found = [(said, [name for name, cost in costs if cost.mark == mark]) for mark, said in kinds]
    return [(said, ", ".join(names)) for said, names in found if names]


def _cost_cells(cost: Cost) -> tuple[str, str, str, str]:
    value, unit = cost_value(cost)
    return f"{value} {unit}".strip(), interval_text(cost) or "-", cost.mark, cost.source
