"""What does polling before a halt buy a guest that waits, and what does it cost one that idles?

A ping-pong (a request comes a fixed time after each answer) and an idle guest with a 250 Hz tick,
beside KVM's published numbers. Look at: the dynamic window is as fast as polling always in the one
and as cheap as never in the other; the cost of waking at which polling gains the published 7 us
(it is recalled, so swept); and where waits become too long to poll for.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.policy import load_policy
from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import Lines, Reference, line_panels
from vmexit_sim.study import idling as study

HOSTS = {us: load_platform("kvm-2013", changes={"vcpu_wake_up": f"{us} us"}) for us in range(1, 11)}
GAIN = 7  # us that polling gained: the cost of waking, in the table
COLOURS = {name: policy_colour(name) for name in study.IDLERS}


def main(options: Options) -> Figure:
    rounds, count = (1_000, 50) if options.quick else (100_000, 15_000)
    host, wait = HOSTS[GAIN], study.untold(HOSTS[GAIN]).wait
    found = study.beside_published(host, rounds, count)
    print_table([f"exact; waking costs {GAIN} µs", "round trip, published (µs)", "simulated (µs)",
                 "c0 at 250 Hz, published", "simulated, as then", "window of 200 µs"], [
        (name, study.ROUND_TRIP.get(name, "-"), f"{one.round_trip:.2f}", study.C0.get(name, "-"),
         f"{one.c0:.2%}", f"{one.c0_shipped:.2%}") for name, one in found.items()])  # fmt: skip
    say("Accounting: never's and always's round trip, never's c0: waking costs the gain of 7 µs, "
        "and what is untold of either guest was set to them. Validation: the rest.")  # fmt: skip
    ratio = found["guest-halt-poll"].round_trip / found[study.ALWAYS].round_trip
    say(f"Guest over host polling: {ratio:.3f}; published for another benchmark: "
        f"{32.73 / 33.40:.3f} (lkml 1708.3/03774).")  # fmt: skip
    trips = [(name, us, study.round_trip(name, HOSTS[us], rounds, wait))
             for name in study.IDLERS for us in HOSTS]  # fmt: skip
    frame = pd.DataFrame(trips, columns=["series", "x", "y"])
    trip, others = frame.set_index(["series", "x"])["y"], study.IDLERS[1:]
    print_table(["waking costs [M]", *(f"µs gained by {name}" for name in others)], [
        (f"{us} µs", *(f"{trip[study.NEVER, us] - trip[name, us]:.3f}" for name in others))
        for us in HOSTS])  # fmt: skip
    awake = [(name, us, 100 * study.idling(load_policy(name), host, guest).awake)
             for us in np.geomspace(5, 10_000, 45)
             for guest in [study.ping_pong(rounds // 5, int(us * 1e6))]
             for name in study.IDLERS]  # fmt: skip
    published = [Reference(axis="y", at=34, label="published: never"),
                 Reference(axis="y", at=27, label="published: always", dash="--")]  # fmt: skip
    return line_panels([
        Lines(frame=frame, colours=COLOURS, references=published, ylabel="Round trip (µs)",
              xlabel="Cost of waking a vCPU (µs)"),
        Lines(frame=pd.DataFrame(awake, columns=["series", "x", "y"]), colours=COLOURS, log="x",
              xlabel="Length of each wait (µs)", ylabel="Thread awake (% of time)"),
    ])  # fmt: skip


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
