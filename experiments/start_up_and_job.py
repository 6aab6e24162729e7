"""How much of a job's exit time can each policy remove, bunched at start-up and spread in the job?

The thread's two halves on real guests: a download and 512 disk reads, each by a register-driven
and by a virtio device. Look at: what batching removes as recorded, by known idioms, and at most,
and how late effects then come; and what another device removes, which no policy for the old has.
"""

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.opened import open_scenario
from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.experiment import Options, print_table, run_experiment, say
from vmexit_sim.present.figures import dots
from vmexit_sim.present.text import time_text
from vmexit_sim.scenario import find_scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import PolicyOutcome

PAIRS = {"net-e1000": "net-virtio", "blk-ide": "blk-virtio"}
LATE = {"by Linux": "linux-default", "batched": "batched-recorded", "idioms": "batched-idioms"}


def removed(outcome: PolicyOutcome) -> str:
    share = f"{1 - outcome.ratio.value:.1%}" if outcome.reach else "-"
    return f"({share})" if outcome.counterfactual else share


def main(options: Options) -> Figure:
    scenario, path = find_scenario("start-up-and-job")
    blocks = compare(open_scenario(scenario, path)).blocks
    of = {block.name: {o.policy.name: o for o in block.policies} for block in blocks}
    first, *names = of[blocks[0].name]
    spaced = [name.replace("-", " ") for name in names]  # so that headings break
    costs = [(name, int(own[first].accesses), int(own[first].exits.value),
              time_text(own[first].hypervisor_time, 3),
              *(time_text(own[late].latency["effect"]["p99"], 3) for late in LATE.values()))
             for name, own in of.items()]  # fmt: skip
    head = ["accesses", "exits", "time added", *(f"effect p99 {name}" for name in LATE)]
    print_table([f"{scenario.platform} (exact)", *head], costs)
    shares = [(name, *(removed(own[policy]) for policy in names)) for name, own in of.items()]
    print_table(["removed (exact)", *spaced], shares)
    say("-: no rule reaches these accesses. In brackets: counterfactual, this guest has no ECAM. "
        "Interrupts themselves are not in these times; --deliveries adds them.")  # fmt: skip
    for old, new in PAIRS.items():
        for part in ("start-up", "job"):
            was, now = (of[f"{guest}: {part}"][first] for guest in (old, new))
            time, exits = (1 - getattr(now, name).value / getattr(was, name).value
                           for name in ("hypervisor_time", "exits"))  # fmt: skip
            say(f"{part}: {new} for {old} removes {time:.1%} of the time, {exits:.1%} of exits.")
    points = [(guest, name, 100 * (1 - own[name].ratio.value)) for guest, own in of.items()
              for name in names if own[name].reach and not own[name].counterfactual]  # fmt: skip
    frame = pd.DataFrame(points, columns=["guest", "policy", "value"])
    colours = {name: policy_colour(name) for name in names}
    label = f"Time added by virtualisation that is removed (%), {scenario.platform}"
    return dots(frame, row="guest", series="policy", colours=colours, xlabel=label)


if __name__ == "__main__":
    run_experiment(main, __doc__, __file__)
