"""A state as a scenario: the data that is run here, and the file that `compare` runs elsewhere.

Both are the same data, so they say the same. What a person did not move is not stated, but for the
number of replications and the guest's own parameters, which are written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vmexit_sim import catalog
from vmexit_sim.configuration import read_toml
from vmexit_sim.explorer.guests import Guest, Slider, offer
from vmexit_sim.explorer.state import State
from vmexit_sim.explorer.values import Value, stated, stated_time
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.places import parts_of, with_value
from vmexit_sim.policy import load_policy, parameters_of
from vmexit_sim.scenario import RANDOM_REPLICATIONS, Scenario

Data = dict[str, Any]

GUEST = "blocks.0.guest"
PARAMETERS = "parameters.*."

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def scenario_of(state: State) -> Data:
    """The scenario that a state means, as a file states it.

    Raises:
        InputError: a policy or platform that does not fit.
    """
    guest = offer().guests[state.guest]
    block: Data = {"name": guest.title, "guest": _stated(guest)}
    block |= {key: list(kept) for key, kept in (("only", guest.only), ("during", guest.during))
              if kept}  # fmt: skip
    if guest.trace is not None:
        block["think_scales"] = [1.0]
    data: Data = {
        "title": guest.title,
        "platform": state.platform,
        "policies": list(state.chosen_policies),
        "seed": state.seed,
        "replications": RANDOM_REPLICATIONS,
        "blocks": [block],
    }
    for place, value in guest.set.items():
        data = with_value(data, _whole(place), value)
    sliders = offer().sliders_of(state.guest)
    for key, value in state.values.items():
        for place, new in _set(sliders[key], value, state):
            data = with_value(data, place, new)
    return _with_total(data, guest)


def where_it_stands(slider: Slider, scenario: Scenario, platform: Platform) -> Value | None:
    """Where a slider stands in a scenario if nobody moves it; None: nothing there to move.

    Args:
        slider: the slider.
        scenario: the scenario, in which nobody moved it.
        platform: its platform.

    Raises:
        InputError: a policy that does not fit.
    """
    place = slider.sets[0]
    if place.startswith("costs."):
        costs = [_cost(platform, each) for each in slider.sets]
        if any(cost is None for cost in costs):
            return None
        whole = sum(cost for cost in costs if cost is not None)
        if slider.unit == "factor":
            return 1.0 if whole else None
        return whole
    if place.startswith(PARAMETERS):
        name = place.removeprefix(PARAMETERS)
        for policy in scenario.policies:
            known = parameters_of(load_policy(policy))
            if name in known:
                return int(known[name])
        return None
    found: Any = scenario
    for part in parts_of(_whole(place)):
        found = found[int(part)] if isinstance(found, list | tuple) else getattr(found, part)
    if slider.unit == "time":
        return found if isinstance(found, int) else round(found.mean_ps)
    return int(found) if slider.unit == "count" else float(found)


def toml_of(data: Data) -> str:
    """A scenario as a TOML file; reading that gives the same data."""
    lines = [f"{key} = {_toml(value)}" for key, value in data.items() if key != "blocks"]
    for block in data["blocks"]:
        lines += ["", "[[blocks]]", *(f"{key} = {_toml(value)}" for key, value in block.items())]
    return "\n".join(lines) + "\n"


def _stated(guest: Guest) -> Data:
    if guest.trace is not None:
        return {"trace": guest.trace}
    path = catalog.find("workloads", guest.workload or "")
    return {key: value for key, value in read_toml(path).items() if key not in ("title", "about")}


def _whole(place: str) -> str:
    return f"blocks.0.{place}" if parts_of(place)[0] == "guest" else place


def _set(slider: Slider, value: Value, state: State) -> list[tuple[str, Any]]:
    """The places that a slider's value sets, and what stands there then."""
    new: Any = stated(slider.unit, value)
    found: list[tuple[str, Any]] = []
    for place in slider.sets:
        if place.startswith("costs.") and slider.unit == "factor":
            cost = _cost(load_platform(state.platform), place)
            if cost is not None:
                found.append((place, stated_time(round(cost * value))))
        elif place.startswith(PARAMETERS):
            name = place.removeprefix(PARAMETERS)
            found += [
                (f'parameters."{policy}".{name}', new) for policy in state.chosen_policies
                if name in parameters_of(load_policy(policy))
            ]  # fmt: skip
        else:
            found.append((_whole(place), new))
    return found


def _cost(platform: Platform, place: str) -> int | None:
    """A cost of a platform, in ps; None if it is a distribution, which no slider moves."""
    value = getattr(platform.costs, place.removeprefix("costs.")).value
    return round(value.mean_ps) if value.is_constant else None


def _with_total(data: Data, guest: Guest) -> Data:
    """With as many operations as make the guest's total of accesses."""
    total = guest.total
    if total is None:
        return data
    own = data["blocks"][0]["guest"]
    each = own.get(total.each.removeprefix("guest."), 1) if total.each else 1
    operations = max(1, round(total.accesses / (each * own.get("vcpus", 1))))
    return with_value(data, _whole(total.place), operations)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        # Of JSON's text only a lone surrogate and DEL are no TOML, and nothing shipped has either.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        inner = (f"{key if _BARE.fullmatch(key) else _toml(key)} = {_toml(each)}"
                 for key, each in value.items())  # fmt: skip
        return f"{{ {', '.join(inner)} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)
