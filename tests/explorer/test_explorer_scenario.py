"""What a state means: the scenario, and what `compare` says of it."""

import json
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vmexit_sim.cli import main
from vmexit_sim.explorer.answer import FEWEST, Exploration
from vmexit_sim.explorer.guests import offer
from vmexit_sim.explorer.scenario import scenario_of, toml_of, where_it_stands
from vmexit_sim.explorer.state import State, read_state
from vmexit_sim.explorer.values import written
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import open_scenario
from vmexit_sim.present import documents
from vmexit_sim.present.verdicts import verdict
from vmexit_sim.scenario import checked_scenario, find_scenario
from vmexit_sim.study.compare import compare

GUESTS = list(offer().guests)


@pytest.mark.parametrize("guest", GUESTS)
def test_an_exported_scenario_is_the_one_that_was_run(guest: str) -> None:
    data = scenario_of(State(guest=guest))
    assert tomllib.loads(toml_of(data)) == data
    assert checked_scenario(data).platform == "kvm-2013"


@pytest.mark.parametrize("guest", GUESTS)
def test_every_slider_moves_the_scenario_and_nothing_else_does(guest: str) -> None:
    unmoved = scenario_of(State(guest=guest))
    platform = load_platform("kvm-2013")
    for key, slider in offer().sliders_of(guest).items():
        home = where_it_stands(slider, checked_scenario(unmoved), platform)
        if home is None:  # there is nothing for it to move
            assert key == "batch"
            continue
        for stop in (slider.stops[0], slider.stops[-1]):
            moved = scenario_of(read_state(f"guest={guest}&{key}={written(slider.unit, stop)}"))
            checked_scenario(moved)
            assert (moved != unmoved) or stop == home, key
            assert moved["policies"] == unmoved["policies"]


@pytest.mark.parametrize("query", ["row=1", "row=64", "row=10&vcpus=16", "vcpus=7"])
def test_a_synthetic_guest_makes_about_as_many_accesses_whatever_is_moved(query: str) -> None:
    guest = scenario_of(read_state(f"guest=spread&{query}"))["blocks"][0]["guest"]
    each = guest.get("accesses_per_operation", 1) * guest.get("vcpus", 1)
    assert abs(guest["operations"] * each - 2000) <= each / 2


def test_a_factor_multiplies_what_the_platform_states() -> None:
    own = load_platform("kvm-2017").costs.world_switch_out.value.mean_ps
    costs = scenario_of(read_state("platform=kvm-2017&switch=2.5"))["costs"]
    opened = open_scenario(checked_scenario({**scenario_of(State()), "costs": costs}))
    assert opened.platform.costs.world_switch_out.value.mean_ps == round(2.5 * own)


def test_a_batch_size_is_set_for_every_policy_that_has_one() -> None:
    data = scenario_of(
        read_state("policy=hypercall&policy=batched-full&policy=batched-idioms&batch=7")
    )
    assert data["parameters"] == {"batched-full": {"max_batch": 7},
                                  "batched-idioms": {"max_batch": 7}}  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        "guest=spread&row=4&spacing=1600ns&switch=2&batch=8&policy=linux-default&policy=hypercall"
        "&policy=batched-recorded&seed=5",
        "guest=download-e1000&think=0.5&user=2.5&platform=kvm-2017",
    ],
)
def test_a_whole_answer_is_what_compare_says_of_the_exported_file(
    query: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read_state(query)
    with ThreadPoolExecutor(1) as pool:
        exploration = Exploration(state, pool)
        exploration.advance(60)
        answer = exploration.answer
    assert exploration.is_whole
    file = tmp_path / "explored.toml"
    file.write_text(toml_of(scenario_of(state)), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(file), "--json", "--jobs", "1"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    compared = compare(open_scenario(*find_scenario(str(file))))
    own = json.loads(json.dumps(documents.comparison(
        type(compared)(opened=compared.opened, replications=exploration.wanted,
                       blocks=[answer.block]))))  # fmt: skip
    assert own["policies"] == printed["policies"]
    assert answer.verdict == verdict(compared.blocks[0])


def test_a_first_answer_is_of_some_replications_and_says_so() -> None:
    with ThreadPoolExecutor(1) as pool:
        exploration = Exploration(read_state("reps=40"), pool)
        exploration.advance(0)
        assert exploration.done == FEWEST
        assert not exploration.is_whole
        assert f"first answer: {FEWEST} of 40 replications" in exploration.answer.run
        assert exploration.outcome.policies[0].replications == FEWEST
        exploration.advance(60)
    assert exploration.answer.run.startswith("40 replications of 2,000 accesses")


def test_nothing_left_to_chance_is_run_once() -> None:
    with ThreadPoolExecutor(1) as pool:
        exploration = Exploration(State(guest="download-e1000"), pool)
        exploration.advance(0)
    assert exploration.is_whole
    assert exploration.answer.run.startswith("exact: nothing is left to chance")


def test_a_slider_whose_stages_nobody_passes_is_said_to_move_nothing() -> None:
    def idle(query: str) -> list[str]:
        with ThreadPoolExecutor(1) as pool:
            exploration = Exploration(read_state(query), pool)
            exploration.advance(0)
            return exploration.answer.idle_sliders

    assert idle("guest=spread") == ["wake"]
    assert idle("guest=requests&policy=linux-default&policy=vhost") == []
