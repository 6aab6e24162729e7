"""Hand-computed paths: what a few accesses take by every mechanism, to the picosecond.

On a shipped platform some costs are 0 and some are alike, so that a path with one cost in place of
another could pass. Every sum is therefore held a second time with costs that are all different and
none 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmexit_sim.guest.table import make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Costs, Platform, load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.statistics import exact
from vmexit_sim.streams import Streams
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import format_time
from vmexit_sim.validation.cases import CASES, COMPUTE, EMULATE, Case
from vmexit_sim.validation.claim import Claim, Expected
from vmexit_sim.validation.expression import Named, Term

LEAST, MOST = 1_000, 5_000
"""Between which the second platform's costs are drawn, in ns: below a batch timer's 20 us."""


def path_claims() -> Iterator[Claim]:
    """A claim for each case, and one that they all hold where no two costs are alike."""
    for case in CASES:
        total, taken = beside(case, load_platform(case.platform))
        yield Claim(
            kind="paths",
            group=case.mechanism,
            claim=f"{case.what}: {total.text}",
            source=f"costs of {case.platform}; docs/mechanisms/{_page(case.mechanism)}.md",
            role="path",
            expected=Expected.exactly(total.ps, format_time(total.ps, 13)),
            simulated=exact(taken),
        )
    alike = sum(total.ps == taken for total, taken in map(_with_other_costs, CASES))
    yield Claim(
        kind="paths",
        group="all mechanisms",
        claim=f"sums that hold with each cost another number, from {LEAST:,} to {MOST:,} ns",
        source="the cases above, on costs drawn once",
        role="path",
        expected=Expected.exactly(len(CASES), f"{len(CASES)}"),
        simulated=exact(alike, unit="1"),
    )


def beside(case: Case, platform: Platform) -> tuple[Term, int]:
    """What a case must take, and what it takes in the simulator (ps)."""
    policy = Policy(
        title=case.what,
        delivery=case.delivery,
        idle=case.idle,
        rules=[Rule(side="host", mechanism=make_mechanism(case.how or case.mechanism))],
    )
    guest = Recorded(make_table(case.rows, **{"devices": ("nvme",), **case.columns}))
    result = simulate(policy, platform, guest, keep_rows=True)
    return case.total(Named(platform, emulate=EMULATE, compute=COMPUTE)), case.measure(result)


def _with_other_costs(case: Case) -> tuple[Term, int]:
    names = list(Costs.model_fields)
    names.remove("refill")  # it is charged to compute, of which these cases have none or a wait
    drawn = Streams(1, 0).named("costs of the second platform").permutation(range(LEAST, MOST))
    changes = {name: f"{time} ns" for name, time in zip(names, drawn, strict=False)}
    return beside(case, load_platform(case.platform, changes=changes))


def _page(mechanism: str) -> str:
    """Whose page tells of the path; what is recorded traps as one of these."""
    return "trap_pio" if mechanism == "as_recorded" else mechanism
