"""Verdicts: what a comparison says, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vmexit_sim.present.text import count_text, number_text, share_text, time_text
from vmexit_sim.statistics import Paired, compare_pair
from vmexit_sim.study.outcome import BlockOutcome, PolicyOutcome

MOST_REPLICATIONS = 100_000
"""Beyond so many more replications nobody would run them."""

LARGEST_FACTOR = 1000
"""A variance-reduction factor beyond which its size says nothing more."""


def verdict(block: BlockOutcome) -> str:
    """What a block says, in a sentence or two."""
    first, best = block.policies[0], block.best()
    idle = [o.policy.name for o in block.policies if o.reach == 0 and not o.idle]
    unreached = f" No rule of {_listed(idle)} reaches these accesses." if idle else ""
    unreached += _waiting_apart(block)
    if not best:
        return f"None of these policies is one that this guest could use.{unreached}"
    least = best[0]
    time = time_text(least.hypervisor_time)
    if first in best:
        return f"{_nothing_less(block)}{unreached}"
    prices = list(_prices(least, first))
    price = f" The price: {'; '.join(prices)}." if prices else ""
    if len(best) > 1:
        names = _listed([outcome.policy.name for outcome in best], "and")
        if all(outcome.times == least.times for outcome in best):
            return f"{names} add least, and equally much: {time}.{price}{unreached}"
        return f"Undecided between {names}, about {time}{_more(best)}.{price}{unreached}"
    if not first.hypervisor_time.value:
        return f"{least.policy.name} adds least: {time}; {first.policy.name} adds 0.{unreached}"
    return (
        f"{least.policy.name} adds least: {time}, {number_text(least.ratio, 3)} × the "
        f"{time_text(first.hypervisor_time)} of {first.policy.name}{_faster(least)}.{price}"
        f"{unreached}"
    )


def _waiting_apart(block: BlockOutcome) -> str:
    """Which policies are left out since they wait otherwise than the first."""
    apart = block.otherwise_waiting
    if not apart:
        return ""
    free = [o.policy.name for o in block.policies if not o.idle]
    stated = [o.policy.name for o in block.policies if o.idle]
    return (
        f" Waiting is free for {_listed(free, 'and')}, which {'says' if len(free) == 1 else 'say'} "
        f"nothing of it, and in the time of {_listed(stated, 'and')}: so the verdict leaves "
        f"{_listed([o.policy.name for o in apart], 'and')} out."
    )


def _prices(least: PolicyOutcome, first: PolicyOutcome) -> Iterator[str]:
    """What the policy that adds least costs in other coin than the vCPUs' time."""
    late, usual = least.latency["effect"]["p99"], first.latency["effect"]["p99"]
    if late.value > 10 * usual.value:
        yield (
            f"effects come later, 99 % of them within {time_text(late, 3)} "
            f"instead of {time_text(usual, 3)}"
        )
    burnt, before = (o.idle["burnt"].value if o.idle else 0.0 for o in (least, first))
    if burnt > before + 0.05:
        yield f"{share_text(burnt)} of its idle time burns a CPU, instead of {share_text(before)}"
    cores = sum({r.mechanism: r.mechanism.cores_spent for r in least.policy.rules}.values())
    if cores:
        yield "a core of the host does nothing but poll" if cores == 1 else f"{cores} cores poll"


def _nothing_less(block: BlockOutcome) -> str:
    """The verdict where no usable policy can be told to add less than the first."""
    first = block.policies[0]
    others = [o for o in block.best() if o is not first]
    if others and all(o.times == first.times for o in others):
        names = _listed([first.policy.name, *(o.policy.name for o in others)], "and")
        return f"{names} add equally much, and nothing that this guest could use adds less."
    if others:
        names = _listed([first.policy.name, *(o.policy.name for o in others)], "and")
        return f"Undecided between {names}{_more([first, *others])}."
    said = f"No policy that this guest could use adds less than {first.policy.name}"
    less = [o.policy.name for o in block.policies if o not in block.usable
            and o not in block.otherwise_waiting
            and o.hypervisor_time.value < first.hypervisor_time.value]  # fmt: skip
    return f"{said}; {_listed(less, 'and')} would, if it could." if less else f"{said}."


def _listed(names: list[str], joint: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {joint} {names[-1]}"


def told_apart(pair: Paired) -> str:
    """Which of two is better, where less is better: ``B less by 14.7 ± 0.2 µs``, or what it takes.

    Args:
        pair: with the names of both.
    """
    difference = pair.difference
    if pair.is_told:
        less, size = (
            (pair.first, difference) if difference.value > 0 else (pair.second, -difference)
        )
        return f"{less} less by {size}"
    return untold(pair)


def direction(pair: Paired) -> str:
    """The same in a word, for a table that tells the difference: less, more, or what it takes."""
    if pair.is_told:
        return "more" if pair.difference.value > 0 else "less"
    return untold(pair)


def untold(pair: Paired) -> str:
    """What to say of two that are not told apart: equal, or what it would take."""
    if pair.difference.is_exact:
        return "equal"
    more = pair.more_replications
    if more is None or more > MOST_REPLICATIONS:
        return "cannot tell apart"
    return f"cannot tell apart; about {more:,} more replications would"


def _faster(least: PolicyOutcome) -> str:
    """How much less it adds than the first, replication by replication, if chance plays a part."""
    if not least.is_random:
        return ""
    return f": less by {-least.against_first().difference}"


def _more(outcomes: Sequence[PolicyOutcome]) -> str:
    """How many more replications would tell the first of some policies from the second."""
    one, other = outcomes[:2]
    if one.replications == 1:
        return "; one replication tells nothing apart: run more (--reps)"
    more = compare_pair(one.times, other.times).more_replications
    if more is None or more > MOST_REPLICATIONS:
        return ""
    return f"; about {more:,} more replications would tell"


def reduction_text(factor: float) -> str:
    """A variance-reduction factor; "-" where there was nothing to reduce."""
    if math.isnan(factor):
        return "-"
    if math.isinf(factor):
        return "no variance left"
    return f"{factor:.3g} ×" if factor < LARGEST_FACTOR else f"> {LARGEST_FACTOR:,} ×"


def how_it_was_run(block: BlockOutcome) -> Iterator[str]:
    """What was left or cut off, and whether what was asked for was reached."""
    if block.left_out:
        yield (f"{count_text(block.left_out)} accesses to timers and interrupt controllers left "
               "out (--timers keeps them)")  # fmt: skip
    if block.cut is not None:
        yield f"warm-up: the first {count_text(block.cut.accesses)} accesses of each vCPU left out"
        if block.cut.too_short:
            yield "the run is too short: it gives no sign that its warm-up is over; make it longer"
    if block.reached is not None:
        n = block.policies[0].replications
        yield f"precision {'reached' if block.reached else 'NOT reached'} with {count_text(n)} " \
              f"replication{'s' * (n > 1)}"  # fmt: skip
