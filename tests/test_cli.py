"""The command line as a whole: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from vmexit_sim import catalog
from vmexit_sim.cli import main


class Ended(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run


def only_config(cli: Any, trace: str, *more: str) -> Any:
    return cli("compare", trace, "--only", "pci_config", "--json", *more).document


def test_help_teaches_and_ends_well(cli: Any) -> None:
    ended = cli("--help")
    assert ended.status == 0
    assert all(command in ended.out for command in ("compare", "run", "trace", "models"))


def test_the_main_job_shows_two_guests_and_two_verdicts(cli: Any) -> None:
    ended = cli("compare")
    assert ended.status == 0
    assert "bunched: config accesses of a recorded PCI scan (10,103 accesses)" in ended.out
    assert "spread: interrupt services of a recorded e1000 download (495 accesses)" in ended.out
    assert "read-only-pages adds least" in ended.out
    assert "batched-idioms adds least" in ended.out


def test_the_readme_quotes_what_the_main_job_prints(cli: Any) -> None:
    """Columns and rows may be left out there, but what stands there must be what is printed."""
    readme = Path(__file__).parent.parent / "README.md"
    block = readme.read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    printed = cli("compare").out
    prose = " ".join(printed.split())
    policies = catalog.names("policies")
    for paragraph in block.split("\n\n"):
        rows = [line for line in paragraph.splitlines() if line.split()[0] in policies]
        rows = [row for row in rows if "adds least" not in row]
        assert rows
        for row in rows:
            name, *numbers = re.split(r" {2,}", row)
            lines = [re.split(r" {2,}", line) for line in printed.splitlines()]
            assert [name, *numbers] in [line[: 1 + len(numbers)] for line in lines]
        verdict = " ".join(paragraph[paragraph.index(rows[-1]) + len(rows[-1]) :].split())
        assert verdict in prose


def test_two_runs_and_both_engines_print_the_same_bytes(cli: Any) -> None:
    arguments = ("compare", "interrupt-service", "--policy", "hypercall", "batched-recorded",
                 "--reps", "2", "--json")  # fmt: skip
    first = cli(*arguments)
    assert first.status == 0
    assert cli(*arguments, "--jobs", "1").out == first.out
    assert cli(*arguments, "--engine", "simpy").out == first.out


def test_the_json_of_compare_has_its_documented_shape(cli: Any) -> None:
    document = only_config(cli, "pci-scan-q35", "--policy", "linux-default", "--seed", "5")
    assert {key: document[key] for key in ("scenario", "platform", "seed", "replications")} == {
        "scenario": "pci-scan-q35", "platform": "kvm-2013", "seed": 5, "replications": 1,
    }  # fmt: skip
    (policy,) = document["policies"]
    assert document["blocks"][0]["policies"] == document["policies"]
    for latency in ("stall_ps", "response_ps", "effect_ps"):
        assert set(policy[latency]) == {"mean", "p50", "p99", "p99.9"}
    assert sum(policy["exits_by_reason"].values()) == policy["exits"]
    assert set(policy["completion_time_by_think_scale_ps"]) == {"0", "0.1", "1"}
    stages = policy["stages_ps"]
    assert policy["hypervisor_time_ps"] == sum(stages.values()) - stages["guest compute"]
    assert policy["intervals"]["hypervisor_time_ps"]["method"] == "exact"


def test_scanning_all_buses_costs_exactly_16320_port_exits(cli: Any) -> None:
    """255 buses x 32 slots x 2 exits; as published for cloud-hypervisor #3187."""
    exits, ports = [], []
    for trace in ("pci-scan-q35", "pci-scan-q35-lastbus0"):
        document = only_config(cli, trace, "--policy", "linux-default")
        exits.append(document["policies"][0]["exits_by_reason"]["IO_INSTRUCTION"])
        ports.append(cli("trace", "info", trace, "--json").document["config"]["port_exits"])
    assert exits[0] - exits[1] == ports[0] - ports[1] == 16_320
    assert exits == ports


def test_trace_info_finds_the_operations(cli: Any) -> None:
    scan = cli("trace", "info", "pci-scan-q35", "--json").document
    assert scan["operations"]["bar_sizing"] == 119
    assert scan["longest_operations"]["absent_run"] == 8_160
    download = cli("trace", "info", "net-e1000", "--json").document
    assert download["operations"]["interrupt_service"] == 72
    assert "interrupt_service" in cli("trace", "info", "net-e1000").out


def test_an_imported_table_is_as_good_as_its_trace(cli: Any, tmp_path: Path) -> None:
    table = tmp_path / "scan.parquet"
    assert cli("trace", "import", "pci-scan-q35-lastbus0", "-o", str(table)).status == 0
    ours, theirs = (
        only_config(cli, guest, "--policy", "linux-default", "hypercall")["policies"]
        for guest in (str(table), "pci-scan-q35-lastbus0")
    )
    for one, other in zip(ours, theirs, strict=True):
        assert {**one, "block": ""} == {**other, "block": ""}
    assert cli("trace", "info", str(table)).status == 0


def test_run_shows_exits_as_perf_kvm_stat_does_and_writes_records(cli: Any, tmp_path: Path) -> None:
    records = tmp_path / "records.parquet"
    ended = cli("run", "pci-scan-q35", "--only", "pci_config", "--records", str(records))
    assert ended.status == 0
    assert all(heading in ended.out for heading in ("VM-EXIT", "Samples%", "Time%", "Avg time"))
    assert "IO_INSTRUCTION" in ended.out
    frame = pd.read_parquet(records)
    assert len(frame) == 10_103
    assert frame["exits"].sum() == 19_852


def test_a_guest_without_ecam_under_an_ecam_policy_is_counterfactual(cli: Any) -> None:
    policies = only_config(cli, "boot-pc", "--policy", "linux-default", "mmio-first")["policies"]
    assert [policy["counterfactual"] for policy in policies] == [False, True]
    assert "mmio-first†" in cli("compare", "boot-pc", "--policy", "mmio-first").out


def test_the_threads_contradiction_stands_where_its_costs_are_used(cli: Any) -> None:
    arguments = ("pci-scan-q35", "--only", "bar_sizing", "--platform", "vmware-2022")
    for command in ("compare", "run"):
        assert "hold 429 such reads" in cli(command, *arguments).out
    assert "429" in cli("compare", *arguments, "--json").document["caution"]
    assert "caution" not in cli("compare", *arguments[:-1], "kvm-2013").out


def test_the_verdict_names_the_price_of_polling(cli: Any) -> None:
    idle = cli(
        "compare", "interrupt-service", "--reps", "5", "--policy", "halt-poll-never", "idle-poll"
    )
    said = " ".join(idle.out.split())
    assert "The price: 100 % of its idle time burns a CPU, instead of 0." in said
    assert "No rule of" not in said
    core = cli("compare", "request-response", "--reps", "3", "--policy", "vhost", "spdk-like")
    assert "a core of the host does nothing but poll" in " ".join(core.out.split())


def test_what_every_vcpu_has_stands_in_one_row_and_contexts_are_called_so(cli: Any) -> None:
    out = cli("run", "interrupted", "--policy", "linux-default").out
    assert re.search(r"interrupts \(× 2\) +4,001", out)
    assert "interrupt context of vCPU 0" in out


def test_deliveries_charge_the_interrupt_of_each_recorded_service(cli: Any) -> None:
    arguments = ("run", "net-e1000", "--only", "interrupt_service", "--during", "job", "--json")
    plain, charged = (
        cli(*arguments, *more).document["blocks"][0] for more in ((), ("--deliveries",))
    )
    added = {"EXTERNAL_INTERRUPT": 66, "APIC_ACCESS": 66}
    for reason, services in added.items():
        assert charged["exits_by_reason"][reason]["samples"] == services
        assert reason not in plain["exits_by_reason"]
    assert charged["exits"] == plain["exits"] + 132


def test_a_nested_host_says_at_which_level_time_goes(cli: Any) -> None:
    arguments = ("pci-scan-q35", "--only", "bar_sizing", "--policy", "linux-default")
    nested = cli("compare", *arguments, "--platform", "kvm-nested-2017")
    assert re.search(r"device +L0 +waiting", nested.out)
    assert " L0 " not in cli("compare", *arguments, "--platform", "kvm-2017").out
    shown = cli("models", "show", "kvm-nested-2017").out
    assert "L1 exits 1 times to L0, and 23 more" in " ".join(shown.split())


def test_every_model_can_be_listed_and_shown(cli: Any) -> None:
    listed = cli("models", "list", "--json").document
    assert set(listed) == set(catalog.SUFFIXES)
    assert cli("models").status == 0
    for name in [*listed["platforms"], "linux-default", "batched-idioms", "bunched-and-spread"]:
        assert cli("models", "show", name).status == 0
    costs = cli("models", "show", "kvm-2013", "--json").document["platform"]["costs"]
    assert all(cost["source"] and cost["mark"] for cost in costs.values())


MISTAKES = {
    "an unknown scenario": (("compare", "pci-scan-q36"), "did you mean 'pci-scan-q35'"),
    "an unknown policy": (("compare", "--policy", "hypercal"), "did you mean 'hypercall'"),
    "an unknown platform": (("compare", "--platform", "kvm-2014"), "did you mean 'kvm-201"),
    "an unknown option": (("compare", "--polcy", "x"), "--polcy"),
    "no replications": (("compare", "--reps", "0"), "1 or more"),
    "a replication before the first": (("run", "--replication", "-1"), "0 or more"),
    "nothing left": (("compare", "boot-pc", "--only", "nvme"), "nvme"),
    "a device node for records": (
        ("run", "pci-scan-q35", "--only", "bar_sizing", "--records", "/dev/null"), ".parquet"
    ),
    "a choice among a synthetic guest's accesses": (
        ("compare", "spread", "--only", "mmio"), "generator's parameters"
    ),
    "deliveries of a synthetic guest": (
        ("compare", "spread", "--deliveries"), "deliveries: is for recorded guests"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_with_status_2_and_says_what_is_wrong(cli: Any, name: str) -> None:
    arguments, said = MISTAKES[name]
    ended = cli(*arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("polcies = ['hypercall']", "polcies: is no key here; did you mean 'policies'"),
        ("[[blocks]]\nguest = {trace = 'boot-pc'}\nonyl = []", "did you mean 'only'"),
        ("[[blocks]]\nguest = {kind = 'spread', operations = 5, between = 3}", "has no unit"),
        ("[[blocks]]\nguest = {trace = 'boot-pc'}\n[costs]\nto_user = '5 parsec'", "'parsec'"),
        ("[[blocks]]\nguest = {trace = 'boot-pc'}\n[costs]\nto_usr = '5 us'", "'to_user'"),
        ("platform = 'kvm-1999'\n[[blocks]]\nguest = {trace = 'boot-pc'}", "platform: 'kvm-1999'"),
        ("[[blocks]\n", "is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_scenario_names_file_key_and_mend(
    cli: Any, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    ended = cli("compare", str(path))
    assert ended.status == 2
    assert "mine.toml" in ended.err
    assert said in ended.err


def test_a_side_core_shows_how_busy_it_is_and_at_work(cli: Any) -> None:
    ended = cli("run", "blk-virtio", "--only", "doorbell", "--policy", "spdk-like")
    assert ended.status == 0
    assert re.search(r"side core: core +1 +0 +100\.00%", ended.out)
    assert "side core: core at work" in ended.out
    assert "EPT_MISCONFIG" not in ended.out


def test_compare_shows_who_waits_for_cpus_and_what_idling_costs(cli: Any) -> None:
    chosen = ("spread", "--policy", "linux-default", "idle-poll", "--reps", "2")
    plain = cli("compare", *chosen[:3], "--reps", "2").out
    assert "Host CPUs" not in plain
    assert "How the guest waits" not in plain
    shown = cli("compare", *chosen, "--cpus", "1", "--time-slice", "2 ms").out
    assert "1 host CPU, slices of 2 ms" in shown
    assert "How the guest waits" in shown
    assert "steal" in shown
    document = cli("compare", *chosen, "--cpus", "1", "--json").document
    free, poll = document["policies"]
    assert "idle" not in free
    assert set(poll["idle"]) == {"asleep_ps", "burnt", "cpu_share"}
    assert set(free["host_cpus"]) == {"utilisation", "stolen_ps", "waited_ps"}


def test_run_shows_halts_but_not_their_sleep_among_what_exits_cost(cli: Any) -> None:
    chosen = ("interrupt-service", "--policy", "halt-poll-never")
    shown = cli("run", *chosen).out
    assert re.search(r"HLT +[\d,]+ +[\d.]+% +- ", shown)
    assert "HLT's time is sleep" in shown
    assert "idle time" in shown
    assert cli("run", *chosen, "--json").document["blocks"][0]["idle"]["asleep_ps"] > 0
