"""Small scenarios whose order of events is written down, line by line.

Each is a scenario file, and beside it a text file with the listing that
``vmexit-sim timeline FILE --text`` prints, one for each of its policies. Costs are round numbers,
so that whoever knows the mechanism can check a listing by eye.

After an intended change, ``python tests/meaning`` writes the listings anew; what changed is then
a difference between two texts, to be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vmexit_sim.opened import open_scenario
from vmexit_sim.output import write_whole
from vmexit_sim.present.timeline_text import listing
from vmexit_sim.scenario import find_scenario
from vmexit_sim.study.timeline import timeline_of

CASES = sorted(Path(__file__).parent.glob("*.toml"))
"""The scenario files."""

RENEW = "python tests/meaning"
"""How the listings are written anew, from the repository's root."""


def listed(case: Path) -> str:
    """What happens in a scenario, under each of its policies."""
    opened = open_scenario(*find_scenario(str(case)))
    (block,) = opened.blocks
    timelines = [timeline_of(opened, block, policy) for policy in opened.policies]
    return "".join(f"{line}\n" for line in listing(timelines, opened.scenario))


def recorded(case: Path) -> str:
    """What was written down; nothing yet for a new case."""
    path = case.with_suffix(".txt")
    return path.read_text("utf-8") if path.exists() else ""


def renew() -> Iterator[Path]:
    """Write down anew what has changed, and say which."""
    for case in CASES:
        now = listed(case)
        if now != recorded(case):
            path = case.with_suffix(".txt")
            write_whole(path, lambda partial, text=now: partial.write_text(text, "utf-8"))
            yield path
