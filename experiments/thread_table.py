"""Does the simulator reproduce the thread's table, and do its numbers hold on other hosts?

The 2022 thread gives a loop of config reads: on bare metal, and in a VMware guest by ports, by
MMIO and from a read-only page. Look at: the digits beside the published ones (costs are
calibrated, so this checks that exits are counted right); which ratios change from host to host;
and that the loop's cost cannot be that of the boot scan which the same thread quotes.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import BLACK, GREY, policy_colour
from vmexit_sim.present.experiment import Options, config_reads, print_table, run_experiment, say
from vmexit_sim.present.figures import dots
from vmexit_sim.validation.published import thread

HOSTS = ("vmware-2022", "kvm-2012", "kvm-2013", "kvm-2017", "kvm-nested-2019")
POLICIES = ("linux-default", "mmio-first", "hypercall", "read-only-pages")
LOOPS = {f"bare metal {way}": loop for way, loop in thread.BARE.items()}
BARE = {name: {"name": "native", "config": config} for name, (config, _) in LOOPS.items()}
PUBLISHED = {policy: float(s) for policy, s, _ in thread.READS.values()}  # 100,000 reads
PUBLISHED |= {name: float(s) for name, (_, s) in LOOPS.items()}  # 1,000,000 reads
COLOURS = {p: policy_colour(p) for p in POLICIES} | dict(zip(BARE, (BLACK, GREY), strict=True))


def main(options: Options) -> Figure:
    reads, rows, points = 1_000 if options.quick else 100_000, [], []
    for host in HOSTS:
        for name in POLICIES:
            published, n = (PUBLISHED.get(name), reads) if host == HOSTS[0] else (None, 100)
            run = config_reads(name, host, n)
            read, exits = run.completion / n / 1e6, run.summary.exits  # µs
            points.append((host, name, read, published and published * 10))
            if n == reads:
                rows.append((name, exits * 100_000 // n, f"{read / 10:.3f}",
                             f"{published:.3f}" if published else "-",
                             f"{read * n / exits:.3f}" if exits else "-"))  # fmt: skip
    for name, mechanism in BARE.items():
        read = config_reads(mechanism, "bare-metal-2022", reads).completion / reads / 1e6
        rows.append((f"{name}, 1,000,000", 0, f"{read:.6f}", f"{PUBLISHED[name]:.6f}", "-"))
        points.append(("bare-metal-2022", name, read, PUBLISHED[name]))
    print_table(
        ["100,000 config reads", "exits", "simulated (s)", "published (s)", "one trap (µs)"], rows
    )
    frame = pd.DataFrame(points, columns=["host", "policy", "value", "published"])
    time = frame.set_index(["host", "policy"])["value"]
    print_table(["ratio on", "ports : MMIO", "ports : call", "MMIO : page"], [
        (host, time[host, "linux-default"] / time[host, "mmio-first"],
         time[host, "linux-default"] / time[host, "hypercall"],
         time[host, "mmio-first"] / time[host, "read-only-pages"]) for host in HOSTS
    ])  # fmt: skip
    say(f"The thread contradicts itself: the 55 ms of its scan hold {55_000 / 128.09:.0f} reads of "
        f"128.09 µs; 2,000, the least that \"thousands\" can mean, take {2 * 128.09:.0f} ms. "
        f"A tenth of that cost, Amit's guess, allows {550_000 / 128.09:,.0f}.")  # fmt: skip
    return dots(frame.astype({"published": float}), row="host", series="policy", colours=COLOURS,
                log=True, xlabel="Time of one config read (µs)")  # fmt: skip


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
