"""What does a polling core save, and how many queues can it serve?

Look at: exits per second, of which a side core spares the kicks, posted interrupts the rest, while
the core is always busy; and how long requests wait for it as queues are added, beside theory.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.analytic import polling_wait
from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import Lines, line_panels
from vmexit_sim.present.text import number_text
from vmexit_sim.study.side_cores import exit_rates, polled, requests
from vmexit_sim.units import MICROSECOND as US
from vmexit_sim.units import SECOND

RATE, SERVICE, EACH = 45_000, 2 * US, 30_000  # requests/s, service, requests/s of a queue: assumed
WAYS = {"kicks": "#D55E00", "kicks, posted": "#E69F00", "side core": "#0072B2",
        "side core, posted": "#56B4E9"}  # fmt: skip
LOOKS = {US // 10: "look 100 ns", US: "look 1 µs"}
COLOURS = WAYS | dict(zip(LOOKS.values(), ("#009E73", "#CC79A7"), strict=True))
DOTS = ["series", "x", "y", "low", "high"]


def main(options: Options) -> Figure:
    number, replications = (6_000, 4) if options.quick else (200_000, 8)
    rows, served, exits, waits = [], [], [], []
    for way in WAYS:
        for rate in (10_000, RATE, 80_000) if options.quick else range(5_000, 100_001, 10_000):
            guest = requests(vcpus=1, rate=rate, service=SERVICE, number=number // 3)
            found = exit_rates(way, "kvm-2017", guest, replications=replications)
            exits.append((way, rate / 1e3, *found.thousands))
            if rate == RATE:
                rows.append((way, *map(number_text, found.rates), f"{found.busy.value:.0%}",
                             f"{found.at_work.value:.1%}"))  # fmt: skip
    print_table([f"{RATE:,} requests/s", "kicks/s", "injections/s", "EOIs/s", "exits/s",
                 "core busy", "at work"], rows, title="kvm-2017")  # fmt: skip
    say("Published (ELVIS, ATC 2013): 142K, 109K, 146K exits/s of three workloads fell below 800. "
        "Accounting: the rate is assumed to match. The rest are other exits.")  # fmt: skip
    for look, name in LOOKS.items():
        for queues in (1, 2, 4, 8, 12, 15):
            p = polled(queues, EACH, SERVICE, look, number=number, replications=replications)
            waits.append((name, queues, *p.microseconds))
            served.append((f"{name}, {queues} queues", f"{p.load:.0%}", *p.told))
    print_table([f"{EACH:,} requests/s each", "load", "exact wait, µs", "simulated", "off by",
                 "exact cycle, µs", "simulated"], served, title="Validation")  # fmt: skip
    theory = [(name, q, polling_wait(q, EACH / SECOND, SERVICE, look) / US)
              for look, name in LOOKS.items() for q in np.linspace(1, 15.5, 100)]  # fmt: skip
    left = Lines(frame=pd.DataFrame(exits, columns=DOTS), xlabel="Thousand requests/s",
                 ylabel="Thousand exits/s", title="(a) kvm-2017", colours=COLOURS)  # fmt: skip
    right = Lines(frame=pd.DataFrame(theory, columns=DOTS[:3]), log="y", colours=COLOURS,
                  dots=pd.DataFrame(waits, columns=DOTS), xlabel="Queues of one core",
                  ylabel="Mean wait (µs)", title="(b) lines: exact, dots: simulated")  # fmt: skip
    return line_panels([left, right])


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
