"""Which exit cost explains that read-only pages took a boot's PCI scan from 55 to 18 ms?

Amdahl: T = C + W·t_w + R·t_r. By ports every read and write exits twice; with read-only pages
reads cost 0.1 µs and only writes exit. R and W come from recorded boots, the ratio of an MMIO exit
to a port exit from the thread's loop; two published times then give an exit's cost and C. Look at:
the cost, some 2 µs if all buses were scanned, as KVM sources have it; and at what the loop's 64 µs
would make of the same scan.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.experiment import Options, print_table, recorded_config, run_experiment, say
from vmexit_sim.present.figures import Lines, Reference, line_panels
from vmexit_sim.study.scan_fit import AFTER, BEFORE, fit_scan

BOOTS = ("pci-scan-q35", "boot-q35", "pci-scan-q35-lastbus0")
LOOP = 64.045  # µs: a port exit of the thread's loop


def main(options: Options) -> Figure:
    boots = BOOTS[:1] if options.quick else BOOTS
    fits = [fit_scan(recorded_config(boot, during=["kernel"]).table) for boot in boots]
    print_table(
        ["the kernel's scan in", "reads", "writes", "port exit fitted (µs)", "C (ms)",
         "simulated with both (ms)", "accesses at 64 µs an exit (ms)"],
        [(boot, fit.reads, fit.writes, fit.port_exit / 1e6, fit.constant / 1e9,
          f"{fit.before / 1e9:.2f} -> {fit.after / 1e9:.2f}", fit.at_loop_cost / 1e9)
         for boot, fit in zip(boots, fits, strict=True)],
    )  # fmt: skip
    fit = fits[0]
    most = int(55_000 / (2 * LOOP))
    say(f"If all buses were scanned, {fit.reads:,} reads and {fit.writes} writes, a port exit of "
        f"{fit.port_exit / 1e6:.2f} µs explains 55 -> 18 ms: {LOOP * 1e6 / fit.port_exit:.0f} "
        "times less than the loop's, and what KVM sources give (1.8 to 2.2 µs).")  # fmt: skip
    say(f"At the loop's 128 µs a read its accesses alone take {fit.at_loop_cost / 1e9:,.0f} ms; "
        f"55 ms hold {most} of them, with C = 0.")  # fmt: skip
    ports = np.geomspace(0.5, 100, 60)
    names = (BEFORE, AFTER)
    points = [(name, port, (fit.time(policy, port * 1e6) + fit.constant) / 1e9)
              for policy, name in enumerate(names) for port in ports]  # fmt: skip
    return line_panels([Lines(
        frame=pd.DataFrame(points, columns=["series", "x", "y"]), log="xy",
        xlabel="Cost of one port exit (µs)", ylabel="Time of the scan, C included (ms)",
        colours={name: policy_colour(name) for name in names},
        references=[
            Reference(axis="y", at=55, label="published: 55 ms", dash="--"),
            Reference(axis="y", at=18, label="published: 18 ms", dash=":"),
            Reference(axis="x", at=fit.port_exit / 1e6, label="fitted exit"),
            Reference(axis="x", at=LOOP, label="exit of the loop", dash="-."),
        ],
    )], height=3.4)  # fmt: skip


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
