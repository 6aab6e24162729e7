"""Does every policy keep its rank on another host: on real hardware, nested, on the thread's?

Where an exit costs more, whatever saves exits gains; where user space costs more than the exit
itself, whatever stays out of it does. Look at: the rank of each policy on each host, on the two
halves of the thread, and which stage makes the difference where two of them change places.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.opened import open_scenario
from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import dots
from vmexit_sim.scenario import find_scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.ranking import ranked, swaps

HOSTS = {
    "kvm-2017": "#0072B2", "kvm-nested-2017": "#56B4E9", "kvm-nested-2019": "#009E73",
    "vmware-2022": "#D55E00",
}  # fmt: skip


def main(options: Options) -> Figure:
    scenario, path = find_scenario()
    hosts = list(HOSTS)[: 2 if options.quick else None]
    on = {
        host: compare(open_scenario(scenario.model_copy(update={"platform": host}), path)).blocks
        for host in hosts
    }
    points = []
    for number, block in enumerate(on[hosts[0]]):
        part = block.name.partition(":")[0]
        ranks = {host: {o.policy.name: (rank, o.ratio.value)
                        for rank, o in enumerate(ranked(on[host][number]), 1)}
                 for host in hosts}  # fmt: skip
        rows = [
            (name, *(f"{ranks[host][name][0]}.  × {ranks[host][name][1]:.3f}" for host in hosts))
            for name in ranks[hosts[0]]
        ]
        print_table([f"{part}: rank (exact)", *(f"{host}: × Linux" for host in hosts)], rows)
        points += [(f"{name} ({part})", host, ranks[host][name][1])
                   for name in ranks[hosts[0]] for host in hosts]  # fmt: skip
        for host in hosts[1:]:
            passed: dict[tuple[str, str], list[str]] = {}
            for swap in swaps(block, on[host][number]):
                passed.setdefault((swap.gains, swap.stage), []).append(swap.loses)
            said = [f"{gains} passes {', '.join(losers)} (by {stage!r})"
                    for (gains, stage), losers in passed.items()]  # fmt: skip
            kept = "every policy keeps its rank"
            say(f"{part}, {hosts[0]} -> {host}: {'; '.join(said) or kept}.")
    frame = pd.DataFrame(points, columns=["policy", "host", "value"])
    return dots(frame, row="policy", series="host", colours=HOSTS, log=True,
                xlabel="Time added by virtualisation, × linux-default")  # fmt: skip


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
