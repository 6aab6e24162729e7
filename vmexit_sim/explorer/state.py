"""What a person chose: to and from the part of an address behind the question mark.

::

    guest=spread&platform=kvm-2013&policy=linux-default&policy=hypercall&spacing=12.5us&reps=20

What was not chosen stands in no address: the platform and the policies are then the guest's usual
ones, and every slider stands where the guest, platform or policy has it. Nothing in a state is a
file's name: guests, platforms and policies are the shipped ones, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, quote_plus

from vmexit_sim import catalog
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.explorer.guests import offer
from vmexit_sim.explorer.values import Value, written
from vmexit_sim.scenario import DEFAULT_SEED

FIRST_GUEST, FIRST_PLATFORM = "spread", "kvm-2013"
"""What the page shows first."""

MOST_POLICIES = 12
"""Policies that are compared at a time."""

LONGEST_QUERY = 2_000
"""Most characters of a state in an address."""

LARGEST_SEED = 2**53 - 1
"""Whole numbers up to here are the same in a browser."""

_KEYS = ("guest", "platform", "policy", "seed")


@dataclass(frozen=True, kw_only=True)
class State:
    """What a person chose.

    Attributes:
        guest: a name in ``guests.toml``.
        platform: a shipped platform's name.
        policies: shipped policies' names; the first is what the others are compared with.
        values: of the sliders that were moved, by name.
        seed: root of all randomness.
    """

    guest: str = FIRST_GUEST
    platform: str = FIRST_PLATFORM
    policies: tuple[str, ...] = ()
    values: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    seed: int = DEFAULT_SEED

    @property
    def chosen_policies(self) -> tuple[str, ...]:
        """The policies to compare."""
        return self.policies or tuple(offer().guests[self.guest].policies)


def read_state(query: str) -> State:
    """The state that an address holds.

    Args:
        query: what stands behind its question mark, as it came.

    Raises:
        InputError: it is too long, or holds a key, a name or a value that there is not.
    """
    if len(query) > LONGEST_QUERY:
        raise InputError(f"is longer than {LONGEST_QUERY:,} characters", key="address")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query),
                          errors="strict", max_num_fields=64)  # fmt: skip
    except (ValueError, UnicodeError):
        raise InputError("holds no state", key="address", value=query,
                         mend="start anew from the page's address alone") from None  # fmt: skip
    single: dict[str, str] = {}
    policies: list[str] = []
    for key, text in pairs:
        if key == "policy":
            policies.append(text)
        elif key in single:
            raise InputError("is there twice", key=key, mend="keep one")
        else:
            single[key] = text
    guest = _known("guest", single.pop("guest", FIRST_GUEST), offer().guests)
    platforms, shipped = catalog.names("platforms"), catalog.names("policies")
    platform = _known("platform", single.pop("platform", FIRST_PLATFORM), platforms)
    policies = [_known("policy", name, shipped) for name in dict.fromkeys(policies)]
    if len(policies) > MOST_POLICIES:
        raise InputError(f"stands there {len(policies)} times", key="policy",
                         mend=f"compare {MOST_POLICIES} or fewer at a time")  # fmt: skip
    seed = _seed(single.pop("seed", str(DEFAULT_SEED)))
    sliders = offer().sliders_of(guest)
    values = {}
    for key, text in single.items():
        if key not in sliders:
            raise InputError(f"is nothing that can be moved in the guest {guest}", key=key,
                             mend=nearest(key, [*_KEYS, *sliders]))  # fmt: skip
        try:
            values[key] = sliders[key].read(text)
        except InputError as error:
            raise error.located(key=key) from None
    ordered = MappingProxyType({key: values[key] for key in sliders if key in values})
    return State(guest=guest, platform=platform, policies=tuple(policies), seed=seed,
                 values=ordered)  # fmt: skip


def query_of(state: State) -> str:
    """A state as an address has it: one query for each state, in which all names stand."""
    pairs = [("guest", state.guest), ("platform", state.platform)]
    pairs += [("policy", name) for name in state.chosen_policies]
    sliders = offer().sliders_of(state.guest)
    pairs += [(key, written(slider.unit, state.values[key])) for key, slider in sliders.items()
              if key in state.values]  # fmt: skip
    if state.seed != DEFAULT_SEED:
        pairs.append(("seed", str(state.seed)))
    return "&".join(f"{quote_plus(key)}={quote_plus(text)}" for key, text in pairs)


def _known(key: str, name: str, names: Mapping[str, object]) -> str:
    if name not in names:
        raise InputError(f"is no {key} here", key=key, value=name, mend=nearest(name, names))
    return name


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= LARGEST_SEED):
        raise InputError("is no seed", key="seed", value=text,
                         mend=f"give a whole number of 0 to {LARGEST_SEED:,}")  # fmt: skip
    return int(text)
