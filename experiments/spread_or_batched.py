"""Does batching pay where accesses are spread, and from which rate on?

The thread's central claim: a paravirtual call pays only if accesses can be batched, and spread
accesses cannot. Look at: the rate from which filling batches of k beats single exits, exact beside
simulated. (a) If every access costs vCPU time and its wait for the batch: beyond k exits' worth of
accesses in two exits. (b) If the time until the device has seen it counts: only near saturation.
(c) If nobody waits for it, as for posted writes: always, there is no break-even.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import Crossing, Lines, line_panels
from vmexit_sim.study.break_even import CRITERIA, EFFECT, NOBODY_WAITS, break_even, curves

EXIT = 1.8  # µs: a port exit to a KVM user space, cloud-hypervisor #3187
NAMES = {1: "single exits", 2: "batches of 2", 4: "batches of 4", 8: "batches of 8"}
COLOURS = dict(zip(NAMES.values(), ("#D55E00", "#56B4E9", "#0072B2", "#332288"), strict=True))
LOADS = {True: np.linspace(0.3, 0.95, 14), False: np.geomspace(0.3, 12, 12)}  # open loop, closed


def main(options: Options) -> Figure:
    batches = (2, 4) if options.quick else (2, 4, 8)
    accesses, replications = (1_500, 2) if options.quick else (10_000, 8)
    rows, panels = [], []
    for letter, criterion in zip("abc", CRITERIA, strict=True):
        found = [break_even(criterion, k, accesses=accesses, replications=replications)
                 for k in batches]  # fmt: skip
        crossings = []
        for each in found:
            if each.exact is None or each.simulated is None:
                rows.append((f"({letter}) {criterion.title}", each.k, "none", "none", "-", "-"))
                continue
            s, name = each.simulated, NAMES[each.k]
            rows.append((f"({letter}) {criterion.title}", each.k, f"{each.exact:.4f}",
                         f"{s.value:.4f} ± {s.half_width:.4f}", f"{each.error:+.2%}",
                         f"{each.exact / EXIT * 1e6:,.0f}"))  # fmt: skip
            crossings.append(Crossing(series=name, exact=each.exact, simulated=s.value,
                                      low=s.low, high=s.high))  # fmt: skip
        loads = LOADS[criterion.open_loop]
        points = [(NAMES[p.batch], p.load, p.cost.value / 1e6, p.cost.low / 1e6, p.cost.high / 1e6)
                  for p in curves(criterion, (1, *batches), loads, accesses=accesses // 3,
                                  replications=min(replications, 4))]  # fmt: skip
        panels.append(Lines(
            frame=pd.DataFrame(points, columns=["series", "x", "y", "low", "high"]),
            colours=COLOURS, title=f"({letter}) {criterion.title}", crossings=crossings,
            log="" if criterion is EFFECT else "x", limits=(0, 8 if criterion is EFFECT else 2.5),
            xlabel="Load λ·t (accesses per exit time)", ylabel="Cost of an access (exit times)",
        ))  # fmt: skip
    print_table(["what counts", "k", "exact λ·t", "simulated λ·t", "off by",
                 f"exact, 1/s, exit {EXIT} µs"], rows)  # fmt: skip
    say(f"{NOBODY_WAITS.title}: no crossover. A batch of k costs 1/k of the exits at every rate, "
        "so spread or not, what nobody waits for can be batched.")  # fmt: skip
    return line_panels(panels)


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
