"""How much of a boot's config time is BAR sizing, the operation a call was proposed for?

The thread's example for a paravirtual call is sizing a BAR: one call instead of eight port
accesses. Look at: how small a part of recorded boots that is beside the scan of absent functions.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.guest.table import Agent, Flag, Kind
from vmexit_sim.present import experiment
from vmexit_sim.present.experiment import Options, recorded_config, run
from vmexit_sim.present.figures import stacked_bars

PLATFORM = "kvm-2017"
BOOTS = ("pci-scan-q35", "boot-q35", "pci-scan-q35-amd")
PARTS = {
    "BAR sizing (kernel)": "#D55E00", "BAR sizing (firmware)": "#E69F00",
    "absent functions (kernel)": "#0072B2", "absent functions (before)": "#56B4E9",
    "all else": "#BBBBBB",
}  # fmt: skip


def main(options: Options) -> Figure:
    rows, points = [], []
    for boot in BOOTS[:1] if options.quick else BOOTS:
        guest = recorded_config(boot)
        table, workload = guest.table, guest.workloads[guest.main_scale]
        ports = run("linux-default", PLATFORM, workload, keep_rows=True)
        kept = ports.to_columns()
        row = np.searchsorted(table.vcpu, kept["vcpu"]) + kept["row"]
        kernel = table.agent >= Agent.KERNEL
        sizing, absent = table.kind == Kind.BAR_SIZING, table.has(Flag.ABSENT)
        of = [sizing & kernel, sizing, absent & kernel, absent]
        part = np.select(of, list(PARTS)[:4], default="all else")[row]
        frame = pd.DataFrame({"part": part, "value": kept["stall"] / 1e9, "boot": boot})
        points.append(frame.assign(exits=kept["exits"]))
        sized = run("size-bar-hypercall", PLATFORM, workload)
        for name, of_part in points[-1].groupby("part"):
            time = of_part["value"].sum()
            rows.append((boot, name, len(of_part), int(of_part["exits"].sum()), time,
                         f"{time / frame['value'].sum():.1%}"))  # fmt: skip
        saved = 1 - sized.hypervisor_time / ports.hypervisor_time
        fewer = ports.summary.exits - sized.summary.exits
        rows.append((boot, "-> a size-BAR call saves", "", fewer,
                     saved * ports.hypervisor_time / 1e9, f"{saved:.1%}"))  # fmt: skip
    columns = [f"boot, on {PLATFORM}", "part", "accesses", "exits", "time (ms)", "share"]
    experiment.print_table(columns, rows)
    first = {name: share for boot, name, *_, share in rows if boot == BOOTS[0]}
    sizing, scan = first["BAR sizing (kernel)"], first["absent functions (kernel)"]
    experiment.say(f"{BOOTS[0]}: the kernel sizes BARs for {sizing}, scans the absent for {scan}.")
    label = f"Time in config accesses (ms), {PLATFORM}, ports"
    return stacked_bars(
        pd.concat(points), row="boot", part="part", order=list(PARTS), colours=PARTS, xlabel=label
    )


if __name__ == "__main__":
    experiment.run_experiment(main, __doc__, __file__)
