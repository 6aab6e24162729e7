"""Which batch size pays at which spacing of accesses, and where exactly does the winner flip?

Batches that only filling up sends off, against single calls. Look at: the spacing at which they
cost alike, exact beside simulated, where an access costs its wait for the batch as well, and where
the time until its effect counts; and the map of the former on a measured host.
"""

from matplotlib.figure import Figure

from vmexit_sim.present.crossover_tables import map_report, quantity_text
from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import map_figure
from vmexit_sim.present.terminal import console
from vmexit_sim.scenario import scenario_data
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.crossover import crossover
from vmexit_sim.study.decision_map import decision_map
from vmexit_sim.study.sweep import Factor

GAP, BATCH = "blocks.0.guest.between.mean", "parameters.batched-full.max_batch"
ASKED = {  # by scenario: the factor, its range, and what counts
    "waiting": (GAP, "100ns", "20us", "burden.mean"),
    "effect": ("blocks.0.guest.arrivals.mean", "1020ns", "20us", "effect.mean"),
}


def main(options: Options) -> Figure:
    accesses, reps = (2_400, 5) if options.quick else (20_000, 20)
    rows = []
    for which, (place, low, high, metric) in ASKED.items():
        for k in (2, 4) if options.quick else (2, 4, 8):
            data, path = scenario_data(f"spread-or-batched-{which}")
            data["blocks"][0]["guest"]["operations"] = accesses
            data["parameters"] = {"batched-full": {"max_batch": k}}
            found = crossover(data, path, first="hypercall", second="batched-full", metric=metric,
                              along=stretch(place, low, high), replications=reps)  # fmt: skip
            for flip in found.flips:
                exact = found.exact_of(flip)
                assert exact is not None, "theory finds the same flips"
                ends = (exact, flip.at.value, flip.at.low, flip.at.high)
                rows.append((f"{which}: {metric}", k, *(quantity_text(end, "ps") for end in ends),
                             f"{flip.at.value / exact - 1:+.2%}"))  # fmt: skip
    print_table(["what counts", "k", "exact spacing", "simulated", "low", "high", "off by"], rows)
    data, path = scenario_data("spread-or-batched-waiting")
    data["blocks"][0]["guest"]["operations"] = accesses // 4
    steps, sizes = (8, [2, 4, 8]) if options.quick else (24, [2, 3, 4, 6, 8, 12, 16, 24, 32])
    over_both = decision_map(
        {**data, "platform": "kvm-2013"}, path, metric="burden.mean", replications=5,
        across=Factor(place=GAP, values=["30 ns", "5 us", steps, "log"]),
        up=Factor(place=BATCH, values=sizes), names=("spacing", "batch size"),
    )  # fmt: skip
    console().print(map_report(over_both))
    say("The larger the batch, the sooner spread accesses lose by it: what it saves grows "
        "towards one exit, and what filling it costs grows with its size.")  # fmt: skip
    return map_figure(over_both)


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
