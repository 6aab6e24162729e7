"""Who loses when a host has more vCPUs than CPUs: who sleeps, who spins, or who exits?

vCPUs that compute 50 us and read config space every 250 us, on 4 CPUs. Nobody is preempted before
the end of a slice: with wake-up preemption spinners would do less harm. Look at: ways that exit
less steal less and lose less; a guest that spins (for a back end, or idling) keeps its CPU from
those it waits for, the longer the slices; a host that polls does not, as it looks who waits.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.experiment import Options, print_table, run_experiment
from vmexit_sim.present.figures import Lines, line_panels
from vmexit_sim.present.text import number_text, time_text
from vmexit_sim.study.outcome import PolicyOutcome
from vmexit_sim.study.overcommit import keeps_up, overcommitted

CPUS, SLICES = 4, ("300 us", "1 ms", "3 ms")
POLICIES = ["linux-default", "hypercall", "read-only-pages", "xen-front-end", "halt-poll-never",
            "halt-poll-dynamic", "guest-halt-poll", "idle-poll"]  # fmt: skip
COLOURS = {name: policy_colour(name) for name in POLICIES}
LABELS = "Response (µs)", "Steal per access (µs)"


def main(options: Options) -> Figure:
    size = {"operations": 300, "replications": 3} if options.quick else {}
    counts = (2, 4, 8, 12) if options.quick else (2, 3, 4, 5, 6, 8, 10, 12)
    found = [(vcpus / CPUS, one) for vcpus in counts
             for one in overcommitted(POLICIES, vcpus, CPUS, **size)]  # fmt: skip
    rows, points = [], []
    for load, one in sorted(found, key=lambda each: POLICIES.index(each[1].policy.name)):
        name, stolen = one.policy.name, one.host_cpus["stolen"]
        scales = [(LABELS[0], one.latency["response"]["mean"], 1e6)] * keeps_up(one)
        scales += [(LABELS[1], stolen, one.accesses * 1e6)] * (stolen.value > 0 and keeps_up(one))
        points += [(label, name, load, e.value / unit, e.low / unit, e.high / unit)
                   for label, e, unit in scales]  # fmt: skip
        in_use = number_text(one.host_cpus["utilisation"], 3)
        if load in (0.5, 1, 2, 3):
            rows.append((name, f"{load:g}", response(one), time_text(stolen), in_use))
    print_table(["95 % intervals; slices of 3 ms", "vCPUs per CPU", "response, mean",
                 "steal, in all", "CPUs in use"], rows)  # fmt: skip
    swept = [overcommitted(POLICIES, 2 * CPUS, CPUS, time_slice=time_slice, **size)
             for time_slice in SLICES]  # fmt: skip
    print_table(
        ["2 vCPUs per CPU; slices [M] of", *SLICES],
        [(same[0].policy.name, *map(response, same)) for same in zip(*swept, strict=True)],
    )
    frame = pd.DataFrame(points, columns=["y axis", "series", "x", "y", "low", "high"])
    panels = [Lines(frame=part, colours=COLOURS, log="y", xlabel="vCPUs per CPU", ylabel=str(what))
              for what, part in frame.groupby("y axis")]  # fmt: skip
    return line_panels(panels)


def response(one: PolicyOutcome) -> str:
    return time_text(one.latency["response"]["mean"], 3) if keeps_up(one) else "backlog grows"


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
