"""States and their addresses."""

import re
from contextlib import suppress
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.errors import InputError
from vmexit_sim.explorer.guests import Slider, offer
from vmexit_sim.explorer.state import (
    LARGEST_SEED,
    LONGEST_QUERY,
    MOST_POLICIES,
    State,
    query_of,
    read_state,
)
from vmexit_sim.explorer.values import Value, read_value, written

SLIDERS = [(guest, key, slider) for guest in offer().guests
           for key, slider in offer().sliders_of(guest).items()]  # fmt: skip


def values(slider: Slider) -> st.SearchStrategy[Value]:
    if slider.unit in ("time", "count"):
        return st.integers(int(slider.low), int(slider.high))
    fine = st.floats(float(slider.low), float(slider.high))
    return fine.map(lambda value: float(f"{value:.6g}")).filter(
        lambda value: slider.low <= value <= slider.high
    )


@st.composite
def states(draw: st.DrawFn) -> State:
    guest = draw(st.sampled_from(list(offer().guests)))
    sliders = offer().sliders_of(guest)
    moved = draw(st.sets(st.sampled_from(list(sliders))))
    policies = st.lists(st.sampled_from(list(catalog.names("policies"))), min_size=1,
                        max_size=MOST_POLICIES, unique=True)  # fmt: skip
    return State(
        guest=guest,
        platform=draw(st.sampled_from(list(catalog.names("platforms")))),
        policies=tuple(draw(policies)),
        seed=draw(st.integers(0, LARGEST_SEED)),
        values=MappingProxyType({key: draw(values(sliders[key])) for key in sliders
                                 if key in moved}),
    )  # fmt: skip


@settings(max_examples=50)
@given(states())
def test_an_address_gives_back_the_state_it_was_made_of(state: State) -> None:
    query = query_of(state)
    assert read_state(query) == state
    assert query_of(read_state(query)) == query


def test_an_empty_address_is_the_first_guest_with_its_usual_policies() -> None:
    state = read_state("")
    assert state == State()
    assert list(state.chosen_policies) == offer().guests[state.guest].policies


@given(st.one_of(st.text(max_size=80), st.text("guest=platformpolicy&%012;../", max_size=80)))
def test_any_other_address_is_a_state_or_refused_in_words(query: str) -> None:
    with suppress(InputError):
        assert read_state(query).guest in offer().guests


@pytest.mark.parametrize(("guest", "key", "slider"), SLIDERS)
def test_a_slider_stops_at_values_that_an_address_holds_exactly(
    guest: str, key: str, slider: Slider
) -> None:
    stops = slider.stops
    assert stops[0] == slider.low
    assert stops[-1] == slider.high
    assert stops == sorted(set(stops))
    assert [slider.read(written(slider.unit, stop)) for stop in stops] == stops


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("guest=sprea", "did you mean 'spread'?"),
        ("platform=kvm-2014", "did you mean 'kvm-201"),
        ("policy=hypercal", "did you mean 'hypercall'?"),
        ("spacin=10us", "did you mean 'spacing'?"),
        ("guest=pci-scan&spacing=10us", "is nothing that can be moved in the guest pci-scan"),
        ("guest=spread&guest=scan", "is there twice"),
        ("spacing=10", "has no unit"),
        ("spacing=1s", "keep to 100 ns … 1 ms"),
        ("row=0", "keep to 1 … 64"),
        ("row=2.5", "is no whole number"),
        ("reads=1.5", "keep to 0.0 … 1.0"),
        ("reads=nan", "is no number"),
        ("switch=0", "is no factor"),
        ("switch=1e999", "is no number"),
        ("switch=1e99", "keep to 0.1 … 10.0"),
        ("seed=-1", "is no seed"),
        ("seed=9007199254740993", "is no seed"),
        ("spread", "holds no state"),
        ("guest=%ff", "holds no state"),
        ("guest=spread&" * 70, "holds no state"),
        ("guest=" + "x" * LONGEST_QUERY, "is longer than"),
        ("&".join(f"policy={name}" for name in list(catalog.names("policies"))[:13]),
         "compare 12 or fewer"),
    ],
    ids=lambda text: str(text)[:40],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_mend(query: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        read_state(query)


@pytest.mark.parametrize("name", ["../platforms/kvm-2013", "./mine.toml", "/etc/passwd", "a.toml"])
@pytest.mark.parametrize("key", ["guest", "platform", "policy"])
def test_no_path_is_a_name(key: str, name: str) -> None:
    with pytest.raises(InputError, match="is no"):
        read_state(f"{key}={name}")


def test_a_value_longer_than_any_is_refused() -> None:
    with pytest.raises(InputError, match="too long"):
        read_value("factor", "1" * 25)
