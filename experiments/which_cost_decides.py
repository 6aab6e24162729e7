"""Do ports or MMIO reach config space faster under KVM, and which cost decides that?

One says port I/O takes two exits where MMIO takes one, another that decoding MMIO costs more than
an exit. On one host MMIO's costs were measured, on the other they are carried over, so assumed.
Look at: which costs can change the verdict alone, and how far from today's number they must be.
"""

from matplotlib.figure import Figure

from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import tornado
from vmexit_sim.present.screening_tables import measure_text, sentences, value_text
from vmexit_sim.present.text import share_text
from vmexit_sim.study.screening import screen

HOSTS = ("kvm-2013", "kvm-2017")
SHOWN = 6


def main(options: Options) -> Figure:
    for host in HOSTS[1:] if options.quick else HOSTS:
        found = screen("pci-scan-q35", "linux-default", "mmio-first", jobs=2,
                       changes={"platform": host, "blocks.0.only": ["pci_config"]},
                       trajectories=4 if options.quick else 20,
                       points=10 if options.quick else 200,
                       top=3 if options.quick else 6)  # fmt: skip
        rows = [
            (f"{each.name} [{each.mark}]", value_text(each.base.number, "ps"),
             " … ".join(value_text(end, "ps", 3) for end in (each.low, each.high)),
             measure_text(each.mu_star), share_text(each.share),
             measure_text(each.at_low), measure_text(each.at_high))
            for each in found.influences[:SHOWN]
        ]  # fmt: skip
        title = f"{host}: time added by MMIO less by ports, {measure_text(found.difference)}"
        print_table(["cost", "now", "plausible", "mu*", "share", "difference at low", "at high"],
                    rows, title=title)  # fmt: skip
        say(f"{host}: {' '.join(sentences(found))}")
    return tornado(found)


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
