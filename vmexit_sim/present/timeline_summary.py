"""What a trace file holds, and what was left out of it, in sentences and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmexit_sim.study.timeline import Beside, Timeline
from vmexit_sim.units import format_time


def summary(
    timelines: Sequence[Timeline], path: Path, written: int, beside: Beside | None = None
) -> str:
    """What was written, and what was not, in sentences."""
    lines = [f"{path}: {written:,} events; open it at ui.perfetto.dev"]
    for each in timelines:
        span = f"{format_time(each.begin)} to {format_time(each.end)}"
        lines.append(f"{each.name}, by {each.policy}: {span}")
        if each.cut:
            lines.append(
                f"  cut there for want of room: {each.omitted:,} later events left out; raise "
                "--most, or choose a window by --from and --to"
            )
    if beside is not None:
        lines.append(f"{beside.file}: {len(beside.exits):,} exits of a real guest")
        if beside.omitted or beside.bad:
            lines.append(
                f"  {beside.omitted:,} exits left out (after the end, no room, or the clock went "
                f"back), {beside.bad:,} malformed lines"
            )
    return "\n".join(lines)


def summary_document(
    timelines: Sequence[Timeline], path: Path, written: int, beside: Beside | None = None
) -> dict[str, Any]:
    """The same for machines; times in ps."""
    document: dict[str, Any] = {"file": str(path), "events": written, "guests": about(timelines)}
    if beside is not None:
        document["beside"] = {"file": str(beside.file), "exits": len(beside.exits),
                              "left_out": beside.omitted, "bad_lines": beside.bad}  # fmt: skip
    return document


def about(timelines: Sequence[Timeline]) -> list[dict[str, Any]]:
    """What is told of each guest; times in ps."""
    return [
        {
            "name": each.name, "policy": each.policy, "begin_ps": each.begin,
            "end_ps": each.end, "cut": each.cut, "events_left_out": each.omitted,
        }
        for each in timelines
    ]  # fmt: skip
