"""Can a faster back end make a virtqueue slower?

With EVENT_IDX a guest kicks only a back end that sleeps. Look at: kicks per item, which fall to 0
where the back end is slower and never sleeps, and rise as it gets faster; and throughput, which a
back end loses by getting faster than the guest: from an item per P to one per P and a kick.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import Lines, Reference, line_panels
from vmexit_sim.study.notification import Pair, by_speed
from vmexit_sim.units import MICROSECOND as US
from vmexit_sim.units import SECOND

GUEST = {"kvm-2017": 2 * US, "kvm-nested-2019": 10 * US}  # an item from the guest; assumed
WAKE_UPS = {"wakes up at once": 0, "in 1 µs": US, "in 5 µs": 5 * US}  # recalled [M], so swept
COLOURS = dict(zip(WAKE_UPS, ("#D55E00", "#56B4E9", "#0072B2"), strict=True))
SHOWN = (0.25, 0.5, 0.9, 0.98, 1.1, 1.5)


def main(options: Options) -> Figure:
    shares = sorted({*np.linspace(0.05, 1.6, 32 if options.quick else 125), *SHOWN})
    rows, points, worst = [], [], 0.0
    for host, produce in GUEST.items():
        for name, wake_up in WAKE_UPS.items():
            for p in by_speed(host, produce=produce, wake_up=wake_up, shares=shares):
                points.append((host, name, p.share, p.kicks[1], p.rate[1] / 1e3))
                worst = max(worst, abs(p.rate[1] / p.rate[0] - 1), abs(p.kicks[1] - p.kicks[0]))
                if p.share in SHOWN and wake_up != US:
                    rates = (rate / 1e3 for rate in p.rate)
                    rows.append((f"{host}, back end {name}", f"{p.share:.2f}", *p.kicks, *rates))
    print_table(["", "C / P", "kicks per item, exact", "simulated", "thousand items/s, exact",
                 "simulated"], rows)  # fmt: skip
    say(f"Validation: simulated and exact numbers differ by at most {worst:.1e} (rounding).")
    for host, produce in GUEST.items():
        kick = Pair.on(host, produce=produce, consume=0, wake_up=0).kick
        say(f"Yes, on {host}: an item takes the guest P = {produce / US:g} µs, "
            f"a kick {kick / US:.3g} µs. A back end fast enough to sleep before each item costs "
            f"{kick / (produce + kick):.1%} of 1/P; one a little slower than P, less.")  # fmt: skip
    frame = pd.DataFrame(points, columns=["host", "series", "x", "kicks", "rate"])
    panels = []
    for title, host, y, ylabel, most in (
        ("(a) kvm-2017", "kvm-2017", "kicks", "Kicks per item", 1),
        ("(b) kvm-2017", "kvm-2017", "rate", "Thousand items/s", SECOND / 2 / US / 1e3),
        ("(c) kvm-nested-2019", "kvm-nested-2019", "rate", "Thousand items/s", 100),
    ):
        panels.append(Lines(
            frame=frame[frame["host"] == host].rename(columns={y: "y"})[["series", "x", "y"]],
            xlabel="Back end's time / guest's (C / P)", ylabel=ylabel, colours=COLOURS, title=title,
            references=[Reference(axis="x", at=1, label="equally fast")],
            limits=(-0.02 * most, 1.08 * most),
        ))  # fmt: skip
    return line_panels(panels)


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
