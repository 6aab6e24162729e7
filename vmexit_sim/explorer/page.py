"""The page: its controls, and HTML made of states and answers.

A page has three regions, each replaced whole when what it shows changes: the verdict, the controls and
the results. All that is written into it is escaped, and none of it is script or style.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vmexit_sim import catalog
from vmexit_sim.configuration import read_toml
from vmexit_sim.errors import VmexitError
from vmexit_sim.explorer.answer import Answer
from vmexit_sim.explorer.guests import Slider, offer
from vmexit_sim.explorer.scenario import scenario_of, where_it_stands
from vmexit_sim.explorer.state import LARGEST_SEED, State, query_of
from vmexit_sim.explorer.values import Value, shown, written
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.present.report import TEMPLATES, readable
from vmexit_sim.scenario import DEFAULT_SEED, Scenario, checked_scenario
from vmexit_sim.units import format_time

OWN = Path(__file__).parent

Html = dict[str, str]
"""Regions by name, and what they hold."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """A slider as it stands.

    Attributes:
        key: its name in addresses.
        label, about: what it is.
        text: where it stands, for people.
        value: the same as an address has it; "" if nobody moved it.
        at: the stop that is nearest.
        home, home_text: the stop, and for people, where it stands if nobody moves it.
        stops, texts: all stops, as an address has them and for people.
        is_shared: whether every guest has it.
    """

    key: str
    label: str
    about: str
    text: str
    value: str
    at: int
    home: int
    home_text: str
    stops: tuple[str, ...]
    texts: tuple[str, ...]
    is_shared: bool


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Everything that can be chosen, and what is.

    Attributes:
        state: what is chosen.
        guests: by sort, names and titles.
        platforms: names and titles.
        policies: names, titles, and whether each is chosen; those that are come first.
        sliders: those that act on this guest, platform and policies.
    """

    state: State
    guests: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    platforms: tuple[tuple[str, str], ...]
    policies: tuple[tuple[str, str, bool], ...]
    sliders: tuple[Control, ...]
    largest_seed: int = LARGEST_SEED
    usual_seed: int = DEFAULT_SEED


def controls_of(state: State, *, is_random: bool) -> Controls:
    """The controls as they stand in a state.

    Args:
        state: what is chosen.
        is_random: whether the number of replications matters.

    Raises:
        InputError: a policy or platform that does not fit.
    """
    unmoved = State(guest=state.guest, platform=state.platform, policies=state.policies)
    scenario = checked_scenario(scenario_of(unmoved))
    platform = load_platform(state.platform)
    chosen = state.chosen_policies
    titles = _titles("policies")
    ordered = [*chosen, *(name for name in titles if name not in chosen)]
    return Controls(
        state=state,
        guests=tuple(
            (sort, tuple((name, guest.title) for name, guest in offer().guests.items()
                         if guest.sort == sort))
            for sort in ("recorded", "synthetic")
        ),
        platforms=tuple(_titles("platforms").items()),
        policies=tuple((name, titles[name], name in chosen) for name in ordered),
        sliders=tuple(
            control
            for key, slider in offer().sliders_of(state.guest).items()
            if (is_random or key != "reps")
            and (control := _control(key, slider, state, scenario, platform)) is not None
        ),
    )  # fmt: skip


def whole_page(state: State, answer: Answer | None, error: VmexitError | None = None) -> str:
    """The page, with the answer to a state, or with what is wrong.

    Args:
        state: what is chosen.
        answer: what is shown; None: there is an error.
        error: what is wrong.
    """
    return _environment().get_template("page.html.j2").render(
        **_shared(state, answer, error), query=query_of(state),
        title=offer().guests[state.guest].title,
        whole=answer is None or answer.exploration.is_whole,
        idle=[] if answer is None else answer.idle_sliders,
        controls=_controls_beside(state, answer),
    )  # fmt: skip


def regions(
    state: State | None,
    answer: Answer | None,
    error: VmexitError | None = None,
    *,
    with_controls: bool = False,
) -> Html:
    """The regions of the page that change.

    Args:
        state: what is chosen; None: it cannot be read.
        answer: what is shown; None: there is an error.
        error: what is wrong.
        with_controls: whether the controls are among them; never of a state that cannot be read.
    """
    found = _shared(state, answer, error)
    names = ["verdict", "results"]
    if with_controls and state is not None:
        names.append("controls")
        found["controls"] = _controls_beside(state, answer)
    return {name: _environment().get_template(f"{name}.html.j2").render(found) for name in names}


def style() -> str:
    """The page's style sheet."""
    return _environment().get_template("explorer.css.j2").render()


def _shared(
    state: State | None, answer: Answer | None, error: VmexitError | None
) -> dict[str, object]:
    return {"state": state, "answer": answer, "error": None if error is None else str(error)}


def _controls_beside(state: State, answer: Answer | None) -> Controls:
    """Controls beside an answer; beside an error all of them, for any may be its mend."""
    return controls_of(state, is_random=answer is None or answer.exploration.opened.is_random)


def _control(
    key: str, slider: Slider, state: State, scenario: Scenario, platform: Platform
) -> Control | None:
    """A slider as it stands; None if there is nothing that it moves."""
    home = where_it_stands(slider, scenario, platform)
    if home is None:
        return None
    stops = slider.stops
    value = state.values.get(key)
    costs = _costs(slider, platform)

    def text(of: Value) -> str:
        said = shown(slider.unit, of)
        return f"{said} ({format_time(costs * of, 3)})" if costs else said

    def nearest_stop(to: Value) -> int:
        if slider.unit in ("time", "factor"):
            return min(range(len(stops)), key=lambda at: abs(_ratio(stops[at], to)))
        return min(range(len(stops)), key=lambda at: abs(stops[at] - to))

    return Control(
        key=key, label=slider.label, about=slider.about,
        text=text(home if value is None else value),
        value="" if value is None else written(slider.unit, value),
        at=nearest_stop(home if value is None else value),
        home=nearest_stop(home), home_text=text(home),
        stops=tuple(written(slider.unit, stop) for stop in stops), texts=tuple(map(text, stops)),
        is_shared=key in offer().sliders,
    )  # fmt: skip


def _ratio(one: Value, other: Value) -> float:
    """How far two apart are on a logarithmic scale; 0 is below all."""
    return max(one, other, 1e-9) / max(min(one, other), 1e-9) - 1


def _costs(slider: Slider, platform: Platform) -> float:
    """What a factor multiplies, in ps; 0 for other sliders."""
    if slider.unit != "factor" or not slider.sets[0].startswith("costs."):
        return 0.0
    names = [place.removeprefix("costs.") for place in slider.sets]
    return float(sum(getattr(platform.costs, name).value.mean_ps for name in names))


def _titles(kind: str) -> dict[str, str]:
    """Shipped models and their titles, by name."""
    return {name: str(read_toml(path).get("title", name))
            for name, path in catalog.names(kind).items()}  # fmt: skip


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader([OWN / "templates", TEMPLATES]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=readable,
    )  # fmt: skip
