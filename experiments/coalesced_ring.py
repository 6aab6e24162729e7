"""What does a ring of coalesced writes save, in a burst and in a recorded e1000 job?

Look at: 169 writes exit lightly, the 170th pays for all; a third of the job's trips is spared.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.experiment import Options, print_table, run, run_experiment, say
from vmexit_sim.present.figures import Lines, line_panels
from vmexit_sim.study.ring_trips import e1000_trips

# A nested host, by /dev/kvm: a port to an eventfd 0.66 µs, to user space 7.65, memory there 8.15
PROBE = dict.fromkeys(("world_switch_out", "world_switch_in"), "330 ns") | {
    "dispatch_mmio": "0 ns", "decode_mmio": "500 ns", "complete_mmio": "0 ns", "to_user": "3495 ns",
    "to_kernel": "3495 ns", "ring_entry": "260 ns", "item": "260 ns"}  # fmt: skip
RING = Policy(title="ring", rules=[Rule(side="host", mechanism="coalesced_mmio")])
TRAPS, USER, AXES = Policy(title="traps"), "stage: to user space", ["series", "x", "y"]
COLOURS = {"coalesced": policy_colour("qemu-kvm"), "trapped": policy_colour("linux-default")}


def main(options: Options) -> Figure:
    rows, panels = [], []
    for host, costs in ("kvm-2013", None), ("probed host", PROBE):
        for n in (1, 169, 170, 400, 1_000 if options.quick else 100_000):
            guest = Recorded(make_table(n + 1, space=Space.MMIO, write=[1] * n + [0]))
            ran = run(RING, "kvm-2013", guest, costs=costs, keep_rows=True).to_columns()
            trap = run(TRAPS, "kvm-2013", guest, costs=costs).completion / (n + 1) / 1e6
            each = (ran["stall"].sum() / 1e6 - trap) / n  # less the read's own
            rows.append(
                (f"{n:,} on {host}", str((ran[USER] > 0).sum() - 1), each, trap, trap / each)
            )
            if n == 400:
                xy = [("coalesced", k + 1, ran["stall"][k] / 1e6) for k in range(n)]
                xy += [("trapped", k, trap) for k in (1, n)]
                panels.append(Lines(frame=pd.DataFrame(xy, columns=AXES), colours=COLOURS, log="y",
                                    xlabel="Place in a burst", ylabel="The write's stall (µs)",
                                    limits=(1, 100), title=host))  # fmt: skip
    print_table(["writes, then a read", "ring full", "a write (µs)", "trapped (µs)", "ratio"], rows)
    job, rows = e1000_trips(), []
    for part, services_only in ("all", False), ("services", True):
        old, new = job.counts(services_only=services_only)
        rows.append((f"net-e1000, {part}", old, new, f"{1 - new / old:.1%}"))
    rows.append(("iperf on e1000, Vivier 2008", 626_594, 391_825, "37.5%"))
    print_table(["trips to user space", "trapped", "with ring", "spared"], rows)
    spared = 1 - job.coalesced.completion / job.trapped.completion
    say(f"It spares {spared:.0%} of the job's exit time. Vivier's "
        "+9.7 % is throughput of a busy host; this guest waits for its network.")  # fmt: skip
    return line_panels(panels)


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
