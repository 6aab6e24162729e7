"""Policies: the first rule that matches decides, and each side reaches what it can reach."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import AccessTable, Agent, Flag, Kind, Phase, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.mechanisms import name_of
from vmexit_sim.policy import Match, Policy, Rule, load_policy, parameters_of

POLICIES = sorted(catalog.names("policies"))
PLATFORMS = sorted(catalog.names("platforms"))


def policy(*rules: dict[str, Any]) -> Policy:
    return checked(Policy, {"title": "a policy", "rules": list(rules)})


def rule(mechanism: Any = "hypercall", side: str = "host", **match: Any) -> dict[str, Any]:
    return {"side": side, "match": match, "mechanism": mechanism}


def config(n: int, **columns: Any) -> AccessTable:
    return make_table(n, **{"space": Space.PCI_CONFIG, **columns})


def every_kind(agents: Iterable[Agent] = Agent) -> AccessTable:
    """Every combination of space, agent, direction and flag, on two devices."""
    combinations = [
        (space, agent, write, flag, device)
        for space in Space for agent in agents for write in (0, 1)
        for flag in (0, *Flag.__members__.values()) for device in (0, 1)
    ]  # fmt: skip
    space, agent, write, flags, device = (list(c) for c in zip(*combinations, strict=True))
    return make_table(
        len(space), space=space, agent=agent, write=write, flags=flags, device=device,
        devices=("nvme", "pit"), kind=np.arange(len(space)) % len(Kind),
        phase=np.arange(len(space)) % len(Phase), operation=np.arange(len(space)) // 3,
        address=np.arange(len(space)) * 4 % 4096,
    )  # fmt: skip


def test_the_first_rule_that_matches_decides() -> None:
    made = policy(rule(write=True), rule(space=["pci_config"]), rule(write=False))
    table = make_table(4, space=[0, 0, 2, 2], write=[1, 0, 1, 0])
    assert made.assign(table).tolist() == [0, 1, 0, 2]


def test_what_no_rule_matches_goes_as_recorded() -> None:
    made = policy(rule(space=["mmio"]))
    table = make_table(3, space=[0, 2, 1])
    assert made.assign(table).tolist() == [-1, 0, -1]
    assert made.reach(table) == pytest.approx(1 / 3)


@settings(max_examples=50)
@given(st.permutations(range(4)), st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=9))
def test_assignment_is_the_first_match_whatever_the_rules_order(
    order: list[int], spaces: list[int]
) -> None:
    rules = [rule(space=["pci_config"]), rule(space=["port_io", "mmio"]), rule(write=True), rule()]
    made = policy(*(rules[i] for i in order))
    table = make_table(len(spaces), space=spaces, write=np.arange(len(spaces)) % 2)
    masks = [r.rows(table) for r in made.rules]
    expected = [next(i for i, mask in enumerate(masks) if mask[row]) for row in range(len(table))]
    assert made.assign(table).tolist() == expected


@pytest.mark.parametrize(
    ("match", "columns", "expected"),
    [
        ({"space": ["port_io", "doorbell"]}, {"space": [0, 1, 2, 3]}, [1, 3]),
        ({"write": True}, {"write": [0, 1, 0, 1]}, [1, 3]),
        ({"write": False}, {"write": [0, 1, 0, 1]}, [0, 2]),
        ({"absent": True}, {"flags": [0, 1, 2, 3]}, [1, 3]),
        ({"absent": False}, {"flags": [0, 1, 2, 3]}, [0, 2]),
        ({"side_effect": True}, {"flags": [0, 1, 2, 3]}, [2, 3]),
        ({"ecam": True}, {"flags": [0, 8, 9, 1]}, [1, 2]),
        ({"ecam": False}, {"flags": [0, 8, 9, 1]}, [0, 3]),
        ({"bridge": True}, {"flags": [0, Flag.BRIDGE, 1, Flag.BRIDGE | 1]}, [1, 3]),
        ({"bridge": False}, {"flags": [0, Flag.BRIDGE, 1, Flag.BRIDGE | 1]}, [0, 2]),
        ({"register_below": 256}, {"address": [0, 255, 256, (5 << 15) + 4]}, [0, 1, 3]),
        ({"register_from": 256}, {"address": [0, 255, 256, (5 << 15) + 4095]}, [2, 3]),
        ({"register_from": 4, "register_below": 8}, {"address": [3, 4, 7, 8]}, [1, 2]),
        ({"kind": ["burst", "none"]}, {"kind": [0, 1, 5, 2]}, [0, 2]),
        ({"phase": ["firmware", "job"]}, {"phase": [0, 1, 5, 2]}, [0, 2]),
        ({"device": ["a-*"]}, {"device": [0, 1, 2, 2]}, [0, 1]),
        ({"device": ["a-x", "b"]}, {"device": [0, 1, 2, 2]}, [0, 2, 3]),
        ({"device": []}, {"device": [0, 1, 2, 2]}, []),
        ({}, {}, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_a_match_means(match: dict[str, Any], columns: dict[str, Any], expected: list[int]) -> None:
    made = checked(Match, match)
    table = config(4, **{"devices": ("a-x", "a-y", "b"), **columns})
    assert np.flatnonzero(made.rows(table)).tolist() == expected


def test_every_condition_of_a_match_must_hold() -> None:
    made = checked(Match, {"write": True, "absent": True})
    assert np.flatnonzero(made.rows(config(4, write=[0, 0, 1, 1], flags=[0, 1, 0, 1]))) == [3]


def test_a_guest_rule_reaches_only_what_kernel_code_does() -> None:
    table = config(5, agent=[Agent.FIRMWARE, Agent.EARLY_KERNEL, Agent.KERNEL, Agent.DRIVER, 2],
                   flags=[0, 0, 0, 0, Flag.INDEX_ONLY])  # fmt: skip
    assert policy(rule(side="guest")).assign(table).tolist() == [-1, -1, 0, 0, -1]
    assert policy(rule(side="host")).assign(table).tolist() == [0] * 5


def test_nothing_reaches_an_empty_table() -> None:
    assert policy(rule()).reach(make_table(0, space=[])) == 0.0


def test_taking_a_guest_without_ecam_there_is_counterfactual() -> None:
    by_ecam, by_port = policy(rule("trap_mmio")), policy(rule("trap_pio"))
    assert by_ecam.is_counterfactual(config(1, has_ecam=False))
    assert not by_ecam.is_counterfactual(config(1, has_ecam=True))
    assert not by_port.is_counterfactual(config(1, has_ecam=False))
    memory = make_table(1, space=Space.MMIO, has_ecam=False)
    assert not by_ecam.is_counterfactual(memory)
    assert not policy().is_counterfactual(config(1, has_ecam=False))


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (rule("hypercal"), "rules.0.mechanism: 'hypercal' is no mechanism; did you mean 'hyperc"),
        (rule({"name": "nativ"}), "did you mean 'native'"),
        (rule({"max_batch": 3}), "is no mechanism"),
        (rule(7), "is no mechanism"),
        (rule({"name": "batched_hypercall", "max_bach": 3}), "did you mean 'max_batch'"),
        (rule({"name": "native", "config": "magic"}), "config"),
        (rule(side="device"), "rules.0.side: 'device'"),
        (rule(space=["pci"]), "rules.0.match.space.0: 'pci'"),
        (rule(phase=["kernl"]), "rules.0.match.phase.0: 'kernl'"),
        (rule(register_below=0), "register_below: 0"),
        (rule(register_from=4096), "register_from: 4096"),
        (rule(spce=["mmio"]), "rules.0.match.spce: is no key here"),
        ({"side": "host"}, "rules.0.mechanism: is missing"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(stated: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        policy(stated)


def test_a_policy_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "t"\n[[rules]]\nside = "host"\nmechanism = "hypercal"\n')
    with pytest.raises(InputError, match=r"mine\.toml: rules\.0\.mechanism"):
        load_policy(str(path))
    path.write_text('title = "t"\n[[rules]]\nside = "host"\nmechanism = "hypercall"\n')
    assert load_policy("mine.toml", beside=path).name == "mine"


def test_an_unknown_policy_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="is no policy; did you mean 'mmio-first'"):
        load_policy("mmio-frist")


@pytest.mark.parametrize("name", POLICIES)
def test_every_shipped_policy_says_what_it_is_and_where_from(name: str) -> None:
    made = load_policy(name)
    assert made.name == name
    assert made.title
    assert made.about
    assert made.rules


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_shipped_policy_is_lowered_on_every_shipped_platform(platform: str) -> None:
    # A platform knows no agents, and what rules make of them the ideal one shows: elsewhere the one
    # will do that every rule reaches.
    workload = Recorded(every_kind(Agent if platform == "ideal" else [Agent.DRIVER]))
    host, devices = load_platform(platform), load_devices()
    for name in POLICIES:
        lowered = lower(load_policy(name), host, devices, workload)
        assert len(lowered.program.entries) == len(lowered.codes) > 0


def test_the_shipped_policies_say_what_their_names_promise() -> None:
    table = config(4, address=[0, 0x100, 0x10, 0x10], flags=[0, Flag.ECAM, Flag.ABSENT, 0],
                   kind=[0, 0, 0, Kind.BAR_SIZING], agent=Agent.KERNEL)  # fmt: skip

    def ways(name: str) -> list[str]:
        made = load_policy(name)
        return [type(made.rules[i].mechanism).__name__ for i in made.assign(table)]

    assert ways("linux-default") == ["TrapPio", "TrapMmio", "TrapPio", "TrapPio"]
    assert ways("mmio-first") == ["TrapMmio"] * 4
    assert ways("read-only-pages") == ["ReadOnlyPage"] * 4
    assert ways("hypercall") == ["Hypercall"] * 4
    assert ways("size-bar-hypercall")[3] == "OperationHypercall"
    assert ways("bare-metal") == ["Native"] * 4
    assert load_policy("bare-metal").bound
    assert load_policy("batched-oracle").bound
    assert not load_policy("mmio-first").bound


def registers(*stretches: list[int], window: str = "4 KiB") -> Match:
    return checked(Match, {"registers": list(stretches), "window": window})


def test_registers_are_offsets_into_an_aligned_window() -> None:
    table = make_table(
        5, space=[Space.MMIO] * 4 + [Space.PCI_CONFIG],
        address=[0xFE000010, 0xFE000020, 0xFE001010, 0xFE000FFF, 0x10],
    )  # fmt: skip
    rows = registers([0x0, 0x10], [0xFFF, 0xFFF]).rows(table)
    assert rows.tolist() == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("match", "says"),
    [
        ({"registers": [[0, 4]]}, "registers without their window"),
        ({"window": "4 KiB"}, "registers without their window"),
        ({"registers": [[8, 4]], "window": "4 KiB"}, "ends before it begins"),
        ({"registers": [[0, 4096]], "window": "4 KiB"}, "beyond its window"),
        ({"registers": [[0, 4]], "window": "3 KiB"}, "no power of two"),
    ],
)
def test_registers_that_make_no_sense_are_refused(match: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        checked(Match, match)


def test_qemu_coalesces_the_e1000s_registers_but_those_that_must_not_wait() -> None:
    names = {"MDIC": 0x20, "ICR": 0xC0, "ICS": 0xC8, "IMS": 0xD0, "IMC": 0xD8, "TCTL": 0x400,
             "TDT": 0x3818, "EECD": 0x10, "ITR": 0xC4, "RDT": 0x2818, "last": 0x1FFFC}  # fmt: skip
    table = make_table(
        len(names), space=Space.MMIO, write=1, devices=("e1000-mmio",),
        address=[0xFEB80000 + offset for offset in names.values()],
    )  # fmt: skip
    policy = load_policy("qemu-kvm")
    coalesced = [n for n, rule in enumerate(policy.rules)
                 if name_of(rule.mechanism) == "coalesced_mmio"]  # fmt: skip
    decided = dict(zip(names, np.isin(policy.assign(table), coalesced), strict=True))
    assert [name for name, waits in decided.items() if waits] == ["EECD", "ITR", "RDT", "last"]


def written(folder: Path, **policies: str) -> None:
    for name, text in policies.items():
        (folder / f"{name}.toml").write_text(f'title = "{name}"\n{text}', encoding="utf-8")


OWN_RULE = """
[[rules]]
side = "host"
match = { write = true }
mechanism = "hypercall"
"""


def test_own_rules_come_before_those_of_the_policy_that_is_extended(tmp_path: Path) -> None:
    written(tmp_path, mine=f'extends = "linux-default"\n{OWN_RULE}')
    mine = load_policy(str(tmp_path / "mine.toml"))
    base = load_policy("linux-default")
    assert mine.rules[1:] == base.rules
    assert mine.rules[0].match.write
    assert (mine.title, mine.name, mine.about, mine.source) == ("mine", "mine", "", "")


def test_idle_and_delivery_are_inherited_unless_stated(tmp_path: Path) -> None:
    written(
        tmp_path,
        base='delivery = "posted"\n[idle]\nguest = "poll"\n',
        heir='extends = "base.toml"\n',
        other='extends = "heir.toml"\ndelivery = "exit"\n[idle]\nguest = "halt"\n',
    )
    base, heir, other = (
        load_policy(str(tmp_path / f"{n}.toml")) for n in ("base", "heir", "other")
    )
    assert (heir.delivery, heir.idle) == (base.delivery, base.idle)
    assert (other.delivery, other.idle.guest) == ("exit", "halt")


def test_policies_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path, a='extends = "b.toml"\n', b='extends = "a.toml"\n')
    with pytest.raises(InputError, match="a extends b extends a"):
        load_policy(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("stated", "message"),
    [('"linux-defualt"', r"mine\.toml: extends.*linux-default"), ("3", "extends.*no model's name"),
     ('"broken.toml"', r"broken\.toml: rules\.0\.side")],
)  # fmt: skip
def test_a_mistake_in_what_is_extended_is_told_where_it_is(
    stated: str, message: str, tmp_path: Path
) -> None:
    broken = OWN_RULE.replace("host", "middle")
    written(tmp_path, mine=f"extends = {stated}\n", broken=broken)
    with pytest.raises(InputError, match=message):
        load_policy(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("mechanism", ["trap_msr", "pv_ipi"])
def test_a_mechanism_for_other_spaces_is_refused(mechanism: str) -> None:
    table = make_table(1, space=Space.PCI_CONFIG)
    wrong = Policy(title="wrong", rules=[Rule(side="host", mechanism=mechanism)])
    with pytest.raises(InputError, match=f"{mechanism}.*pci_config"):
        lower(wrong, load_platform("ideal"), load_devices(), Recorded(table))


def test_a_policy_without_a_hypervisor_is_a_bound_whether_it_says_so_or_not() -> None:
    assert Policy(title="mine", rules=[Rule(side="guest", mechanism="native")]).is_bound
    assert not load_policy("assigned-devices").is_bound


def test_a_parameter_takes_the_place_of_what_the_file_states() -> None:
    plain = load_policy("batched-oracle")
    assert parameters_of(plain)["max_batch"] == 32
    (rule_,) = load_policy("batched-oracle", parameters={"max_batch": 8}).rules
    assert rule_.mechanism == plain.rules[0].mechanism.model_copy(update={"max_batch": 8})
    assert load_policy("batched-oracle") == plain
    assert load_policy("batched-oracle", parameters={}) == plain


def test_a_parameter_is_set_in_every_rule_that_has_it_and_in_no_other(tmp_path: Path) -> None:
    written(
        tmp_path,
        mine='extends = "linux-default"\n[[rules]]\nside = "host"\nmatch = { write = true }\n'
        'mechanism = "batched_hypercall"\n[[rules]]\nside = "host"\nmatch = { write = false }\n'
        'mechanism = { name = "batched_hypercall", max_batch = 3, needs = "oracle" }\n',
    )
    path = str(tmp_path / "mine.toml")
    plain, changed = load_policy(path), load_policy(path, parameters={"max_batch": 7})
    assert [r.mechanism.max_batch for r in changed.rules[:2]] == [7, 7]
    assert [r.mechanism.needs for r in changed.rules[:2]] == [
        r.mechanism.needs for r in plain.rules[:2]
    ]
    assert changed.rules[2:] == plain.rules[2:]
    assert len(plain.rules) == 4


def test_a_parameter_may_be_any_place_of_a_policy() -> None:
    plain = load_policy("guest-halt-poll")
    changed = load_policy("guest-halt-poll", parameters={
        "idle.guest_poll.longest": "50 us", "delivery": "posted"})  # fmt: skip
    assert plain.idle.guest_poll.longest == 200_000_000
    assert changed.idle.guest_poll.longest == 50_000_000
    assert (plain.delivery, changed.delivery) == ("exit", "posted")
    assert changed.rules == plain.rules
    first = load_policy("batched-oracle", parameters={"rules.0.mechanism.max_batch": 5}).rules[0]
    assert first.mechanism.max_batch == 5


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("batched-oracle", {"max_bach": 3}, "'max_bach' is no parameter.*did you mean 'max_batch'"),
        ("linux-default", {"max_batch": 3}, "'max_batch' is no parameter of policy linux-default"),
        ("batched-oracle", {"max_batch": 0}, "policy batched-oracle with other parameters: rules"),
        (
            "batched-oracle",
            {"max_batch": "3"},
            "policy batched-oracle with other parameters: rules",
        ),
        ("batched-oracle", {"rules.7.side": "host"}, r"rules\.7\.side: '7' leads nowhere"),
        ("batched-oracle", {"idle.gest": "poll"}, r"idle\.gest: is no key here; did you mean"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(
    name: str, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        load_policy(name, parameters=parameters)


@pytest.mark.parametrize("name", POLICIES)
def test_every_parameter_set_to_what_it_is_changes_nothing(name: str) -> None:
    plain = load_policy(name)
    several: dict[str, set[str]] = {}
    for made in plain.rules:
        for key, value in made.mechanism.model_dump(mode="json").items():
            several.setdefault(key, set()).add(repr(value))
    for key, values in several.items():
        (_, *more) = values
        value = parameters_of(plain)[key]
        if not more and isinstance(value, (bool, str)):
            assert load_policy(name, parameters={key: value}).rules == plain.rules
