"""What a crossover says, in a sentence or two."""

from __future__ import annotations

from collections.abc import Iterator

from vmexit_sim.present.text import number_text, time_text
from vmexit_sim.statistics import Estimate
from vmexit_sim.statistics.text import number
from vmexit_sim.study.crossover import Crossover
from vmexit_sim.study.flips import Flip, Stretch
from vmexit_sim.units import format_time

UNTOLD = "cannot be told apart"


def crossover_verdict(result: Crossover) -> str:
    """Which policy is better where, in a sentence or two."""
    if not result.flips:
        return " ".join(_without_flips(result))
    sentences = []
    for flip in result.flips:
        below, above = result.sides(flip)
        if flip.neighbours is None:
            said = f"{below} is better below {_at(result, flip)}, {above} above"
        else:
            said = _between_neighbours(result, flip, below, above)
        sentences.append(f"{said}{_open_ends(result, flip)}.")
    zones = [(f.at.low, f.at.high) for f in result.flips]
    apart = [s for s in result.stretches if s.sign == 0
             and not any(low <= s.low and s.high <= high for low, high in zones)]  # fmt: skip
    return " ".join([*sentences, *(_untold(result, stretch) for stretch in apart)])


def quantity_text(value: float, unit: str) -> str:
    """A number with its unit, as people write it."""
    if unit == "ps":
        return format_time(value)
    return number(value) + ("" if unit == "1" else f" {unit}")


def estimate_text(estimate: Estimate) -> str:
    """A time, a count or a rate, with its half-width."""
    return time_text(estimate) if estimate.unit == "ps" else number_text(estimate)


def interval_text(result: Crossover, flip: Flip) -> str:
    """A flip's interval from end to end, and whether it goes on beyond the range."""
    if flip.at.low == flip.at.high:
        return "exact" if flip.at.is_exact else "no width"
    low, high = (quantity_text(end, result.factor_unit) for end in (flip.at.low, flip.at.high))
    return f"{'below ' * flip.is_open_low}{low} to {'above ' * flip.is_open_high}{high}"


def _at(result: Crossover, flip: Flip) -> str:
    """Where a flip is, with its interval: as ± where that is about symmetric."""
    at = flip.at
    if at.is_exact:
        shown = quantity_text(at.value, result.factor_unit)
        if at.low == at.high:
            return f"{shown} (exact)"
        return f"{shown} (equal from {interval_text(result, flip)})"
    basis = f"{at.confidence * 100:.4g} %, {at.n:,} reps"
    skew = abs((at.high - at.value) - (at.value - at.low))
    if flip.is_open_low or flip.is_open_high or skew > 0.2 * at.half_width:
        shown = quantity_text(at.value, result.factor_unit)
        return f"{shown} ({interval_text(result, flip)}, {basis})"
    unit = "" if at.unit in ("ps", "1") else f" {at.unit}"
    return f"{estimate_text(at)}{unit} ({basis})"


def _between_neighbours(result: Crossover, flip: Flip, below: str, above: str) -> str:
    assert flip.neighbours is not None
    low, high = flip.neighbours
    said = f"{below} is better up to {low}, {above} from {high} on"
    if high - low > 1:
        said += f", and at {low + 1} they are equal"
    if result.is_random:
        ends = "" if flip.is_open_low else f"up to {flip.at.low:.0f}"
        ends += " and " if ends and not flip.is_open_high else ""
        ends += "" if flip.is_open_high else f"from {flip.at.high:.0f} on"
        said += f" (told {ends or 'nowhere'}, {flip.at.confidence * 100:.4g} %, {flip.at.n} reps)"
    return said


def _open_ends(result: Crossover, flip: Flip) -> str:
    ends = [
        *([f"below {quantity_text(flip.at.low, result.factor_unit)}"] if flip.is_open_low else []),
        *(
            [f"above {quantity_text(flip.at.high, result.factor_unit)}"]
            if flip.is_open_high
            else []
        ),
    ]
    return f"; the interval goes on {' and '.join(ends)}, where nobody looked" if ends else ""


def _without_flips(result: Crossover) -> Iterator[str]:
    low, high = (quantity_text(end.number, result.factor_unit)
                 for end in (result.range.low, result.range.high))  # fmt: skip
    told = {stretch.sign for stretch in result.stretches} - {0}
    if not told:
        yield f"No crossover is told from {low} to {high}: they {UNTOLD} anywhere."
        return
    better = result.winner(told.pop())
    one, other = (m.difference for m in (result.scan[0], result.scan[-1]))
    gains = [_gain(e) for e in (one, other)]
    apart = [stretch for stretch in result.stretches if stretch.sign == 0]
    basis = "exact" if one.is_exact else f"{one.confidence * 100:.4g} %, {one.n:,} reps"
    none, where = (
        ("No crossover is told", "wherever it can be told") if apart
        else ("No crossover", "throughout")
    )  # fmt: skip
    yield (f"{none} from {low} to {high}: {better} is better {where}, by {gains[0]} at {low} "
           f"and {gains[1]} at {high} ({basis}).")  # fmt: skip
    yield from (_untold(result, stretch) for stretch in apart)


def _gain(difference: Estimate) -> str:
    turned = difference.value < 0
    e = difference
    gain = Estimate(-e.value, -e.high, -e.low, e.n, e.method, e.confidence, e.unit) if turned else e
    return estimate_text(gain)


def _untold(result: Crossover, stretch: Stretch) -> str:
    low, high = (quantity_text(end, result.factor_unit) for end in (stretch.low, stretch.high))
    are = f"They {UNTOLD}" if result.is_random else "They are equal"
    return f"{are} at {low}." if low == high else f"{are} from {low} to {high}."
