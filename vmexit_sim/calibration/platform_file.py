"""A calibrated platform as a TOML file: every cost, where it comes from, and what was measured.

The file is like those in ``models/platforms``, and says of each cost what it was derived from::

    [measurements.inl_from_qemu]
    mean = "1.774 us"

    [costs.to_user]
    value = "552.857 ns"
    from = { "inl_from_qemu" = 0.5, "inl_from_kernel" = -0.5 }
    interval = ["550.1 ns", "555.6 ns"]
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmexit_sim.calibration.costs import Calibrated
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.configuration import checked
from vmexit_sim.distributions import Duration
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Cost, Costs, Platform
from vmexit_sim.output import write_whole
from vmexit_sim.units import MICROSECOND, MILLISECOND, NANOSECOND, SECOND, format_time


def write_platform(
    path: Path,
    *,
    name: str,
    title: str,
    about: str,
    base: Platform,
    costs: Sequence[Calibrated],
    measurements: Sequence[Measurement],
    clock: int | None = None,
    caution: str = "",
) -> None:
    """Write a platform file, whole or not at all.

    A cost that is not among `costs` is written as it is on the base, marked as assumed here.

    Args:
        path: the file.
        name: what the platform calls itself.
        title: one line for people.
        about: what was measured, and what a user must know.
        base: the platform that the other costs are taken from; nesting and lock too.
        costs: the calibrated costs.
        measurements: what they were derived from.
        clock: the host's clock, in Hz; None: not known, so the base's is stated.
        caution: a sentence that is shown with every result; "" for none.

    Raises:
        InputError: the file cannot be written, a cost or a measurement is there twice, a cost is
            derived from no measurement that is there, or the base has costs that a file cannot
            state (resampled ones).
    """
    text = platform_text(name=name, title=title, about=about, base=base, costs=costs,
                         measurements=measurements, clock=clock, caution=caution)  # fmt: skip
    checked(Platform, tomllib.loads(text), file=path)

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_whole(path, write)


def platform_text(
    *,
    name: str,
    title: str,
    about: str,
    base: Platform,
    costs: Sequence[Calibrated],
    measurements: Sequence[Measurement],
    clock: int | None = None,
    caution: str = "",
) -> str:
    """What `write_platform` writes; its arguments and errors are the same."""
    for what, known in (("cost", Costs.model_fields), ("measurement", None)):
        given: list[Any] = list(costs) if what == "cost" else list(measurements)
        for item, times in Counter(each.name for each in given).items():
            if times > 1:
                raise InputError(f"is the name of {times} {what}s", value=item)
            if known is not None and item not in known:
                raise InputError("is no cost", value=item)
    return "\n".join(_lines(name, title, about, base, costs, measurements, clock, caution)) + "\n"


def _lines(
    name: str,
    title: str,
    about: str,
    base: Platform,
    costs: Sequence[Calibrated],
    measurements: Sequence[Measurement],
    clock: int | None,
    caution: str,
) -> Iterator[str]:
    yield f"name = {_text(name)}"
    yield f"title = {_text(title)}"
    yield f"about = {_text(about)}"
    if caution:
        yield f"caution = {_text(caution)}"
    yield f"clock = {_text(f'{clock or base.clock} Hz')}"
    yield f"clock_mark = {_text('A' if clock is None else 'H')}"
    source = "stated for the calibration, or found in a log"
    unknown = f"not known here: as on {base.name}; no cost below is in cycles"
    yield f"clock_source = {_text(unknown if clock is None else source)}"
    yield from ("", "[vmm_lock]")
    yield f"discipline = {_text(base.vmm_lock.discipline)}"
    yield f"source = {_text(f'as on {base.name}: {base.vmm_lock.source}')}"
    if base.nesting is not None:
        yield from ("", "[nesting]")
        yield f"exits = {base.nesting.exits}"
        yield f"user_exits = {base.nesting.user_exits}"
        yield f"exits_source = {_text(f'as on {base.name}: {base.nesting.exits_source}')}"
        for part in ("forward", "l1_exit"):
            yield from ("", f"[nesting.{part}]")
            yield from _carried(getattr(base.nesting, part), base.name)
    for measurement in measurements:
        yield from ("", f"[measurements.{_text(measurement.name)}]")
        yield from _measured(measurement)
    own = {cost.name: cost for cost in costs}
    for cost_name, carried in base.costs.items():
        yield from ("", f"[costs.{cost_name}]")
        calibrated = own.get(cost_name)
        yield from _carried(carried, base.name) if calibrated is None else _calibrated(calibrated)


def _measured(measurement: Measurement) -> Iterator[str]:
    for key in ("mean", "error", "sd", "least"):
        value = getattr(measurement, key)
        if value is not None:
            yield f"{key} = {_text(stated_time(value))}"
    if measurement.n is not None:
        yield f"n = {measurement.n}"
    for key in ("file", "row"):
        if getattr(measurement, key):
            yield f"{key} = {_text(getattr(measurement, key))}"


def _calibrated(cost: Calibrated) -> Iterator[str]:
    yield f"value = {_value(cost.value)}"
    yield f"mark = {_text(cost.mark)}"
    yield f"source = {_text(cost.source)}"
    if cost.combination:
        weights = (f"{_text(name)} = {weight!r}" for name, weight in cost.combination.items())
        yield f"from = {{ {', '.join(weights)} }}"
    if cost.low is not None and cost.high is not None:
        ends = (_text(stated_time(max(end, 0.0))) for end in (cost.low, cost.high))
        yield f"interval = [{', '.join(ends)}]"


def _carried(cost: Cost, base: str) -> Iterator[str]:
    yield f"value = {_value(duration_value(cost.value))}"
    yield 'mark = "A"'
    stated = f" ({cost.stated})" if cost.stated.endswith("cycles") else ""
    yield f"source = {_text(f'as on {base}{stated}: {cost.source}')}"


def duration_value(duration: Duration) -> str | dict[str, Any]:
    """A duration as a file states it.

    Raises:
        InputError: it is resampled from a file of its own.
    """
    if duration.is_constant:
        return stated_time(duration.mean_ps)
    stated: dict[str, Any] = duration.model_dump()  # type: ignore[attr-defined]
    if stated["kind"] == "empirical":
        raise InputError("is resampled from a file, and cannot be carried over",
                         value="empirical", mend="name another base")  # fmt: skip
    times = ("mean", "shift", "low", "high")
    return {key: stated_time(value) if key in times else value for key, value in stated.items()}


def stated_time(picoseconds: float) -> str:
    """A time for a file, rounded to a whole ps and stated exactly."""
    whole = round(picoseconds)
    units = (("s", SECOND), ("ms", MILLISECOND), ("us", MICROSECOND))
    fitting = (each for each in units if whole >= 10 * each[1])
    unit, scale = next(fitting, ("ns", NANOSECOND))
    digits = len(str(scale)) - 1
    fraction = f"{whole % scale:0{digits}d}".rstrip("0")
    return f"{whole // scale}{'.' * bool(fraction)}{fraction} {unit}"


def shown_interval(low: float | None, high: float | None) -> str:
    """An interval in words, for a source: ``95 % interval 1.2 µs to 1.4 µs``."""
    if low is None or high is None:
        return "spread not known"
    return f"95 % interval {format_time(low)} to {format_time(high)}"


def _value(value: str | Mapping[str, Any]) -> str:
    if isinstance(value, str):
        return _text(value)
    items = (
        f"{key} = {_text(part) if isinstance(part, str) else repr(part)}"
        for key, part in value.items()
    )
    return f"{{ {', '.join(items)} }}"


def _text(text: str) -> str:
    """A TOML basic string: JSON's escapes, without what TOML forbids."""
    clean = text.encode("utf-8", "replace").decode()
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
