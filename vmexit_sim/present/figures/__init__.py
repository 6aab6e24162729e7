"""Figures: functions that take results, or tidy frames, and return a matplotlib figure.

::

    results ──► frame (one row a bar, a part of a bar, a dot, or a point) ──► figure ──► file

Every axis has its unit, every policy its own colour in every figure (`vmexit_sim.present.colours`),
and every estimate that is not exact its interval. Legends stand outside the axes, so they cover no
data. Figures are made without pyplot: they hold no global state and need no display.

==================  ================================  =============================================
figure              of                                says
==================  ================================  =============================================
`policy_bars`       a compared guest                  what each policy costs
`stage_breakdown`   a compared guest                  where the vCPU's time goes
`latency_figure`    `study.latencies`                 how latencies are spread, to their far tail
`tail_figure`       `study.tail`                      what the slowest accesses spend their time on
`waterfall_figure`  `study.waterfall`                 one access, stage by stage, policy by policy
`exits_figure`      `study.over_time`                 exits over time, by reason
`use_figure`        `study.over_time`                 use of locks, servers and threads over time
`spacing_figure`    `study.spacing`                   a metric along spacing, and its break-evens
`sweep_figure`      a sweep's results                 a metric along a factor
`crossover_figure`  a crossover                       where the better of two policies changes
`map_figure`        a decision map                    which policy is the best where
`tornado`           a screening                       which costs move a difference
==================  ================================  =============================================

`bar_panels`, `stacked_bars`, `dots` and `line_panels` draw frames of anything else.

This package loads seaborn, matplotlib and pandas; import it only where a figure is wanted.
"""

from vmexit_sim.present.figures.bars import bar_panels, policy_bars, policy_frame, policy_panel
from vmexit_sim.present.figures.decisions import crossover_figure, map_figure
from vmexit_sim.present.figures.dot_rows import dots
from vmexit_sim.present.figures.drawing import (
    COLUMN,
    PAGE,
    Bars,
    Crossing,
    Lines,
    Reference,
    unit_of,
)
from vmexit_sim.present.figures.influences import tornado
from vmexit_sim.present.figures.latency import latency_figure, latency_frame
from vmexit_sim.present.figures.lines import line_panels
from vmexit_sim.present.figures.rates import exits_figure, exits_frame
from vmexit_sim.present.figures.saving import save
from vmexit_sim.present.figures.spacings import break_even_frame, spacing_figure, spacing_frame
from vmexit_sim.present.figures.stages import stacked_bars, stage_breakdown, stage_frame
from vmexit_sim.present.figures.sweeps import sweep_figure
from vmexit_sim.present.figures.tails import tail_figure, tail_frame
from vmexit_sim.present.figures.uses import use_figure, use_frame
from vmexit_sim.present.figures.waterfalls import waterfall_figure, waterfall_frame

__all__ = [
    "COLUMN", "PAGE", "Bars", "Crossing", "Lines", "Reference", "bar_panels", "break_even_frame",
    "crossover_figure", "dots", "exits_figure", "exits_frame", "latency_figure", "latency_frame",
    "line_panels", "map_figure", "policy_bars", "policy_frame", "policy_panel", "save",
    "spacing_figure", "spacing_frame", "stacked_bars", "stage_breakdown", "stage_frame",
    "sweep_figure", "tail_figure", "tail_frame", "tornado", "unit_of", "use_figure", "use_frame",
    "waterfall_figure", "waterfall_frame",
]  # fmt: skip
