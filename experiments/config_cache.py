"""How many of a boot's config reads would a cache in the guest answer, and what does that save?

AWS's config-space cache answers 49 % of reads in its RFC (81 % once it survives kexec), near 70 %
in the talk. Look at: endpoints' reads in recorded boots hit 30 to 40 % if registers are kept as by
the RFC, which keeps nothing of a vendor's capabilities (virtio has many), and 54 to 69 % if every
register is kept. But most config reads of a boot are of functions that do not exist.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present import experiment
from vmexit_sim.present.experiment import Options, print_table, recorded_config, run
from vmexit_sim.present.figures import dots
from vmexit_sim.study.cache_hits import AS_PUBLISHED, EVERYTHING, WITH_CAPABILITIES, hit_rates

PLATFORM = "kvm-2017"
BOOTS = ("pci-scan-q35", "boot-q35", "boot-pc")
KEPT = {"RFC": (AS_PUBLISHED, 49.0), "RFC + vendor's": (WITH_CAPABILITIES, None),
        "everything": (EVERYTHING, 70.0)}  # fmt: skip
COLOURS = dict(zip(KEPT, ("#0072B2", "#56B4E9", "#D55E00"), strict=True))


def main(options: Options) -> Figure:
    rows, points, forgetting, saved = [], [], [], []
    for boot in BOOTS[:2] if options.quick else BOOTS:
        guest = recorded_config(boot)
        for phase, kernel_only in (("kernel only", True), ("whole boot", False)):
            name = f"{boot}, {phase}"
            for kept, (cache, published) in KEPT.items():
                rates = hit_rates(guest.table, cache, kernel_only=kernel_only)
                shown = [f"{r.rate:.1%} of {r.reads:,}" if r.reads else "-" for r in rates.values()]
                rows.append((name, kept, *shown, published or "-"))
                points.append((name, kept, 100 * rates["endpoints"].rate, published))
            whole = AS_PUBLISHED.model_copy(update={"invalidate": "function"})
            both = [hit_rates(guest.table, cache, kernel_only=kernel_only)["endpoints"].rate
                    for cache in (AS_PUBLISHED, whole)]  # fmt: skip
            forgetting.append((name, *(f"{rate:.1%}" for rate in both)))
        runs = [run(policy, PLATFORM, guest.workloads[guest.main_scale])
                for policy in ("linux-default", "config-cache")]  # fmt: skip
        exits, times = [r.summary.exits for r in runs], [r.hypervisor_time / 1e9 for r in runs]
        saved.append((boot, *exits, *times, f"{1 - times[1] / times[0]:.1%}"))
    print_table(["hits among reads (exact)", "kept", "endpoints", "bridges", "absent",
                 "published %"], rows)  # fmt: skip
    print_table(["endpoints, kept as by the RFC; a write forgets", "its register",
                 "its whole function"], forgetting)  # fmt: skip
    print_table([f"config-cache on {PLATFORM}", "exits before", "after", "ms before", "after",
                 "saved"], saved)  # fmt: skip
    experiment.say(
        "Validation: no rate was put in. The published ones are ARM machines' with their devices; "
        "the RFC counts endpoints from their set-up on, with registers that it has read before."
    )
    frame = pd.DataFrame(points, columns=["boot", "kept", "value", "published"])
    label = "Config reads of endpoints that the cache answers (%)"
    return dots(frame, row="boot", series="kept", colours=COLOURS, xlabel=label)


if __name__ == "__main__":
    experiment.run_experiment(main, __doc__, __file__)
