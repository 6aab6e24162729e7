"""From which cost of a decode toggle on does sizing all BARs of a function at once pay?

Since 2025 Linux turns decoding off and on once for a function instead of once for each BAR, and
reads each register once more. Look at: (a) for a function that decodes it pays even where a toggle
is free, as the writes spared are exits too, and grows with (toggles - 2) times the toggle. (b) A
function that does not decode only gets the reads: among many, so large a share must decode.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import Lines, Reference, line_panels
from vmexit_sim.study.toggle_batching import PLATFORM, break_even, counted, gain

NAMES = {0: "no 64-bit BAR", 1: "one 64-bit BAR", 3: "three 64-bit BARs"}
COLOURS = dict(zip(NAMES.values(), ("#D55E00", "#0072B2", "#009E73"), strict=True))
TOGGLES = (0, *np.geomspace(1e-6, 1, 13))  # s
SHARES = np.linspace(0.05, 1, 20)


def main(options: Options) -> Figure:
    rows, lines, edges, edge = [], [], [], []
    for bars, name in NAMES.items():
        old, new = (counted(sequence, bars, decodes=True) for sequence in ("old", "batched"))
        counts = [f"{each.reads}/{each.writes} ({each.toggles})" for each in (old, new)]
        for cost in TOGGLES:
            simulated, exact = gain(bars, cost, decodes=True)
            lines += [(name, cost * 1e3, simulated * 1e3)] if cost else []
            part = f"{simulated / ((old.toggles - 2) * cost):.3%}" if cost else "-"
            if cost in (0, 1):
                saved = f"{simulated:.6g}", f"{exact:.6g}"
                rows.append((name, *counts, f"{cost:g}", *saved, part))
        for share in (0.25, 0.5, 0.75, 1.0):
            zeros = [f"{zero * 1e6:+.3f}" for zero in break_even(bars, share)]
            edges.append((name, f"{share:.0%}", *zeros))
        edge += [(name, 100 * share, break_even(bars, share)[1] * 1e6) for share in SHARES]
    print_table(["a function that decodes", "old R/W (toggles)", "batched", "toggle (s)",
                 "saved (s)", "closed form", "of toggles saved"], rows)  # fmt: skip
    print_table(["functions", "that decode", "break-even toggle (µs)", "closed form"], edges)
    say("All exact. A negative break-even: it pays though a toggle is free. The reference expects "
        "no gain there; but writing COMMAND is an exit, worth the reads added.")  # fmt: skip
    columns = ["series", "x", "y"]
    left = Lines(
        frame=pd.DataFrame(lines, columns=columns), colours=COLOURS, log="xy",
        title="(a) A function that decodes", xlabel="Cost of a toggle (ms)",
        ylabel=f"Saved (ms a function), {PLATFORM}",
    )  # fmt: skip
    free = Reference(axis="y", at=0, label="a toggle is free")
    right = Lines(
        frame=pd.DataFrame(edge, columns=columns), colours=COLOURS, limits=(-5, 40),
        title="(b) Of many functions", xlabel="Functions that decode at the scan (%)",
        ylabel="Break-even cost of a toggle (µs)", references=[free],
    )  # fmt: skip
    return line_panels([left, right])


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
