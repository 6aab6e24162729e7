"""Does holding completion interrupts back cost throughput?

Look at: interrupts per request, which any coalescing lowers; and throughput, which a count with a
timer costs where few requests are in flight, since the guest then sleeps until the timer, while a
ratio by commands in flight leaves such guests alone.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import Lines, line_panels
from vmexit_sim.present.text import number_text
from vmexit_sim.study.coalescing import WAYS, coalesced

PLATFORM, THINK, SERVICE = "kvm-2017", "1 us", "4 us"  # means, exponential: assumed
COLOURS = dict(zip(WAYS, ("#D55E00", "#56B4E9", "#0072B2", "#CC79A7"), strict=True))
COLUMNS = ["series", "x", "y", "low", "high"]


def main(options: Options) -> Figure:
    number, replications = (3_000, 3) if options.quick else (40_000, 8)
    rows, interrupts, rates = [], [], []
    for way in WAYS:
        for c in (1, 2, 8, 32) if options.quick else (1, 2, 4, 8, 12, 16, 24, 32, 64):
            found = coalesced(way, c, platform=PLATFORM, think=THINK, service=SERVICE,
                              number=number, replications=replications)  # fmt: skip
            each, exits, rate = found.interrupts, found.exits, found.rate
            interrupts.append((way, c, each.value, each.low, each.high))
            rates.append((way, c, rate.value / 1e3, rate.low / 1e3, rate.high / 1e3))
            if c in (2, 8, 32):
                rows.append((f"{way}, {c} in flight", *map(number_text, (each, exits, rate))))
    print_table([f"virtqueue on {PLATFORM}", "interrupts/request", "exits/request", "requests/s"],
                rows)  # fmt: skip
    two = {way: rate for way, c, rate, *_ in rates if c == 2}
    lost = 1 - two["8, or 50 µs"] / two["each interrupts"]
    say(f"Yes where little is in flight: {lost:.0%} is lost to 8, or 50 µs, with 2 in "
        "flight; no where much is, and then it spares most interrupts.")  # fmt: skip
    say("The ratios by commands in flight (off below 4, then 4/5, 3/4, 2/3, 8 of those in flight) "
        "are recalled from vIC (ATC 2011) [M]; counts and timers are assumed.")  # fmt: skip
    x = "Requests in flight"
    return line_panels([
        Lines(frame=pd.DataFrame(interrupts, columns=COLUMNS), xlabel=x, colours=COLOURS, log="x",
              ylabel="Interrupts per request", title="(a) kvm-2017", limits=(0, 1.05)),
        Lines(frame=pd.DataFrame(rates, columns=COLUMNS), xlabel=x, colours=COLOURS, log="x",
              ylabel="Thousand requests/s", title="(b) kvm-2017", limits=(0, 275)),
    ])  # fmt: skip


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
