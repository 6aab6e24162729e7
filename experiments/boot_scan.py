"""What does scanning empty buses cost a boot, and which policy makes it harmless?

One guest, recorded twice: as it is, and with pci=lastbus=0, so that the kernel does not look at
the 255 buses that firmware said might exist. Look at: the exits by ports, which differ by exactly
255 buses × 32 slots × 2 exits = 16,320 (as cloud-hypervisor #3187 measured: 17,871 -> 1,551); and
how little the scan costs once absent functions are loads, or their reads go in batches.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.policy import load_policy
from vmexit_sim.present.experiment import Options, print_table, recorded_config, run_experiment, say
from vmexit_sim.present.figures import dots
from vmexit_sim.study.simulate import simulate

PLATFORM = "kvm-2017"
POLICIES = ("linux-default", "mmio-first", "hypercall", "batched-recorded", "batched-idioms",
            "absent-page", "read-only-pages", "late-detection")  # fmt: skip
BOOTS = {"256 buses": "pci-scan-q35", "1 bus": "pci-scan-q35-lastbus0"}
COLOURS = {"256 buses": "#D55E00", "1 bus": "#0072B2"}


def main(options: Options) -> Figure:
    platform = load_platform(PLATFORM)
    guests = {boot: recorded_config(trace) for boot, trace in BOOTS.items()}
    rows, points = [], []
    for name in POLICIES[:4] if options.quick else POLICIES:
        runs = {
            boot: simulate(load_policy(name), platform, guest.workloads[guest.main_scale])
            for boot, guest in guests.items()
        }
        exits = [run.summary.exits for run in runs.values()]
        times = [run.summary.latencies["stall"].total / 1e9 for run in runs.values()]
        rows.append((name, *exits, exits[0] - exits[1], *times, times[0] - times[1]))
        points += [(name, boot, time) for boot, time in zip(runs, times, strict=True)]
    columns = [*(f"{boot}: exits" for boot in BOOTS), "difference",
               *(f"{boot} (ms)" for boot in BOOTS), "difference (ms)"]  # fmt: skip
    print_table([f"policy, on {PLATFORM}", *columns], rows)
    saved, scan = rows[0][3], rows[0][6]
    say(
        f"By ports the empty buses take {saved:,} exits: 255 × 32 × 2 = {255 * 32 * 2:,}, "
        f"{scan / saved * 1e3:.2f} µs each. cloud-hypervisor #3187: 17,871 - 1,551 = 16,320."
    )
    frame = pd.DataFrame(points, columns=["policy", "boot", "value"])
    return dots(
        frame,
        row="policy",
        series="boot",
        colours=COLOURS,
        log=True,
        xlabel=f"Time the vCPU stands still for config accesses (ms), {PLATFORM}",
    )


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
