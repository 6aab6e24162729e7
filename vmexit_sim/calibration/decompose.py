"""From measurements to costs, as far as they identify them; the rest is said.

Measurements are taken one after the other, the surest first (`observations`). Of each, what is
already known is subtracted, and what remains belongs to its costs that are not:

* one of them: it is identified;
* leaving and entering the guest, or going to user space and back: halves, for no measurement tells
  them apart and every exit has both;
* several others: only their sum is identified. They get it in the proportions of the base platform.

Everything is linear, so a cost's mean stays a weighted sum of measured means, and its interval
follows. It is the interval of sampling: how wrong a split may be, it does not say. The base gives
proportions, never an amount, to what was measured; costs that nothing measured are the base's,
whole.

The spread of exits goes to the costs that were measured by them: each gets the same coefficient of
variation, and a smallest value in proportion, such that the simulated exit has the measured one's
mean, standard deviation and least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vmexit_sim.calibration.costs import Calibrated, combined
from vmexit_sim.calibration.fit import MOST_SPREAD, Family, fit, shifted
from vmexit_sim.calibration.gaps import WANTED, unused
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.observations import (
    SWITCH,
    USER,
    Evidence,
    Observation,
    assumed,
    observations,
)
from vmexit_sim.calibration.platform_file import shown_interval, stated_time
from vmexit_sim.hypervisor.platform import Costs, Platform
from vmexit_sim.units import format_time

ROUNDING = 1e-12
"""A weight below that is what floating point left of 0."""

PAIRS = (SWITCH, USER)
"""Costs that every exit has both of, so that no measurement tells them apart."""


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """The costs that measurements give, and what they do not.

    Attributes:
        costs: calibrated costs, in the order of `Costs`.
        notes: what a user must know: what was assumed, what was not used, what does not fit.
        unidentified: costs that the measurements do not identify, each with why, and what was
            taken instead.
        assumed: what intervals take as known that was not measured with the costs: the shares of
            mixtures. Each is among the notes, too.
    """

    costs: tuple[Calibrated, ...]
    notes: tuple[str, ...]
    unidentified: Mapping[str, str]
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A cost that has been settled: its mean as a weighted sum, its variance, its least."""

    weights: dict[str, float]
    mean: float = 0.0
    variance: float = 0.0
    least: float = 0.0


@dataclass
class _Ledger:
    """What is known so far."""

    base: Platform
    measurements: list[Measurement]
    spread: bool
    known: dict[str, _Known] = field(default_factory=dict)
    costs: dict[str, Calibrated] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unidentified: dict[str, str] = field(default_factory=dict)
    spans: dict[str, list[str]] = field(default_factory=dict)
    starved: list[Observation] = field(default_factory=list)
    mixtures: list[str] = field(default_factory=list)

    def take(self, observation: Observation) -> None:
        """Learn from one measurement what it says of costs that are not known yet."""
        for name in observation.contained:
            self._contain(name, observation)
        weights = observation.weights
        free = [name for name in weights if name not in self.known]
        if not free:
            free = self._reopened(observation)
        if not free:
            self._compare(observation)
            return
        residual = {observation.measurement.name: 1.0}
        for name, weight in weights.items():
            if name not in free:
                for measured, share in self.known[name].weights.items():
                    residual[measured] = residual.get(measured, 0.0) - weight * share
        residual = {each: share for each, share in residual.items() if abs(share) > ROUNDING}
        mean, low, high = combined(self.measurements, residual)
        if mean <= 0:
            self.starved.append(observation)
            self.notes.append(
                f"{observation.measurement.name} leaves nothing for {_listed(free)} "
                f"({format_time(mean)}, {shown_interval(low, high)}): not taken from it"
            )
            return
        self._settle(observation, free, residual, mean)

    def _settle(
        self, observation: Observation, free: list[str], residual: dict[str, float], mean: float
    ) -> None:
        weights = observation.weights
        shares = self._shares(free, weights)
        own = {name: shares[name] * mean for name in free}
        variation, least = self._variation(observation, own)
        fitted = fit(observation.measurement) if variation else None
        family: Family = "lognormal"
        if fitted is not None and isinstance(fitted.table, dict):
            family = fitted.table["kind"]
        how = self._how(observation, free)
        for name in free:
            expression = {each: share * shares[name] for each, share in residual.items()}
            expression = {each: share for each, share in expression.items() if share}
            value_mean, low, high = combined(self.measurements, expression)
            value: str | dict[str, object] = stated_time(value_mean)
            floor = shares[name] * least
            if variation and value_mean - floor > 1:
                value = shifted(family, value_mean, variation * value_mean, floor)
            else:
                floor = value_mean
            spread = variation * value_mean if isinstance(value, dict) else 0.0
            self.known[name] = _Known(weights=expression, mean=value_mean, variance=spread**2,
                                      least=floor)  # fmt: skip
            self.costs[name] = Calibrated(
                name=name,
                value=value,
                combination=expression,
                low=low,
                high=high,
                mark="H" if how == "identified" else "D",  # a share of a measured sum is derived
                source=self._source(expression, how, low, high),
            )

    def _source(
        self, expression: Mapping[str, float], how: str, low: float | None, high: float | None
    ) -> str:
        if not expression:
            return f"0 as on {self.base.name}: {how}"
        places = f"{self._places(expression)}; {shown_interval(low, high)}"
        return f"{_sum(expression)}: {how} ({places})"

    def _shares(self, free: list[str], weights: Mapping[str, float]) -> dict[str, float]:
        """What each free cost gets of a residual, such that it adds up by the weights."""
        for pair in PAIRS:
            if set(free) == set(pair):
                return {name: 1 / sum(weights[each] for each in free) for name in free}
        base = {name: self.base.costs.duration(name).mean_ps for name in free}
        total = sum(weights[name] * base[name] for name in free)
        if not total:
            return {name: 1 / sum(weights[each] for each in free) for name in free}
        return {name: base[name] / total for name in free}

    def _how(self, observation: Observation, free: list[str]) -> str:
        """How costs follow from a measurement; what it does not identify is noted."""
        name = observation.measurement.name
        self.spans.setdefault(observation.about, []).append(name)
        split = ""
        for pair in PAIRS:
            if set(free) == set(pair):
                split = f"half each to {_listed(free)}, which no measurement tells apart"
        if not split and len(free) > 1:
            split = f"only {_listed(free)} is measured, as a sum; split as on {self.base.name}"
        if observation.is_mixture:
            self.mixtures.append(name)
            shares = ", ".join(f"{w:.3g} {cost}" for cost, w in observation.weights.items())
            split += "; " * bool(split) + f"a mixture, taken as an average of {shares} per exit"
        for cost in free:
            if split:
                self.unidentified[cost] = f"{name}: {split}"
            else:
                self.unidentified.pop(cost, None)
        return split or "identified"

    def _variation(self, observation: Observation, own: Mapping[str, float]) -> tuple[float, float]:
        """The coefficient of variation that each free cost gets, and the least of their sum."""
        sd = observation.measurement.sd
        if not (self.spread and observation.has_spread and sd):
            return 0.0, 0.0
        kinds = [
            (
                share,
                sum(own[name] if name in own else self.known[name].mean for name in costs),
                sum(self.known[name].variance for name in costs if name not in own),
                sum(own[name] ** 2 for name in costs if name in own),
            )
            for share, costs in observation.kinds
        ]
        centre = sum(share * mean for share, mean, _, _ in kinds)
        others = sum(share * (var + (mean - centre) ** 2) for share, mean, var, _ in kinds)
        square = sum(share * squares for share, _, _, squares in kinds)
        if sd**2 <= others or not square:
            return 0.0, 0.0
        variation = math.sqrt((sd**2 - others) / square)
        least = (observation.measurement.least or 0.0) - min(
            sum(self.known[name].least for name in costs if name not in own)
            for _, costs in observation.kinds
        )
        return (variation, max(least, 0.0)) if variation <= MOST_SPREAD else (0.0, 0.0)

    def _reopened(self, observation: Observation) -> list[str]:
        """Costs to measure anew, if those known do not explain a measurement."""
        explained = sum(
            weight * self.known[name].mean for name, weight in observation.weights.items()
        )
        measured = observation.measurement.mean
        if not observation.reopens or measured <= explained:
            return []
        self.notes.append(
            f"{observation.measurement.name} takes {format_time(measured)}, and its parts as "
            f"measured alone {format_time(explained)}: what is beyond (devices' own work, cold "
            f"caches) goes to {_listed(observation.reopens)}"
        )
        free = [name for name in observation.reopens if name in observation.weights]
        for name in free:
            del self.known[name]
        return free

    def _compare(self, observation: Observation) -> None:
        """Everything of a measurement is known: say what it would have been."""
        explained = sum(
            weight * self.known[name].mean for name, weight in observation.weights.items()
        )
        measured = observation.measurement
        if not explained:
            self.notes.append(f"{measured.name} is not used: its costs are contained in others")
            return
        text = (
            f"{measured.name} says nothing new: {format_time(measured.mean)} measured, "
            f"{format_time(explained)} by the costs found"
        )
        user = sum(self.known[name].mean for name in USER if name in self.known)
        if observation.reopens and user:
            share = 1 - (explained - measured.mean) / user
            if share >= 0:
                text += f"; so about {share:.0%} of these exits go to user space"
        self.notes.append(text)

    def _contain(self, name: str, observation: Observation) -> None:
        if name in self.known:
            return
        measured = observation.measurement.name
        self.known[name] = _Known(weights={})
        self.costs[name] = Calibrated(
            name=name, value="0 ns", mark="D",
            source=f"contained in {measured}, which other costs were taken from",
        )  # fmt: skip
        self.unidentified[name] = f"contained in {measured}: 0 here"

    def _places(self, expression: Iterable[str]) -> str:
        found = {m.name: m for m in self.measurements}
        parts = []
        for name in expression:
            n = found[name].n
            samples = "n not known" if n is None else f"n = {n:,}"
            parts.append(f"{found[name].file} {found[name].row}, {samples}".strip())
        return "; ".join(parts)


def decompose(evidence: Evidence, base: Platform, *, spread: bool = True) -> Decomposition:
    """The costs that measurements give.

    Args:
        evidence: what was measured; no two measurements have one name.
        base: gives proportions where only a sum was measured, and what was not measured.
        spread: whether costs get the spread of exits; else they are constants.
    """
    order = observations(evidence)
    ledger = _learnt(order, evidence, base, spread)
    first = next((place for place, each in enumerate(order) if each.is_mixture), 0)
    if any(each.is_mixture for each in ledger.starved):
        # What was split in the base's proportions leaves less than nothing for another exit: so
        # these are wrong. Splitting the smaller exit first leaves something for both.
        early = [each for each in ledger.starved if each.is_mixture]
        rest = [each for each in order[first:] if each not in early]
        ledger = _learnt([*order[:first], *early, *rest], evidence, base, spread)
    if ledger.costs and not set(SWITCH) <= set(ledger.costs):
        total = sum(base.costs.duration(name).mean_ps for name in SWITCH)
        ledger.notes.append(
            f"the world switch is in no measurement: {format_time(total)} were added to each exit, "
            f"as on {base.name}; a vmexit micro-benchmark (kvm-unit-tests) gives this host's"
        )
    elif ledger.costs:
        _say_switch(ledger, evidence)
    if any("split as on" in why for why in ledger.unidentified.values()):
        ledger.notes.append(
            "where only a sum was measured, intervals are those of the sum, and say nothing of how "
            f"it splits: that is as on {base.name}"
        )
    for name in Costs.model_fields:
        if name not in ledger.costs:
            ledger.unidentified[name] = (
                f"{WANTED.get(name, 'nothing that was given measures it')}: as on {base.name}"
            )
    names = list(Costs.model_fields)
    taken = tuple(filter(None, (assumed(evidence, name) for name in ledger.mixtures)))
    spans = (f"{', '.join(names)}: {about}" for about, names in ledger.spans.items())
    return Decomposition(
        costs=tuple(ledger.costs[name] for name in names if name in ledger.costs),
        notes=tuple(dict.fromkeys([*spans, *taken, *ledger.notes, *unused(evidence)])),
        unidentified={n: ledger.unidentified[n] for n in names if n in ledger.unidentified},
        assumed=taken,
    )


def _learnt(
    order: Iterable[Observation], evidence: Evidence, base: Platform, spread: bool
) -> _Ledger:
    ledger = _Ledger(base, evidence.measurements, spread)
    for observation in order:
        ledger.take(observation)
    return ledger


def _say_switch(ledger: _Ledger, evidence: Evidence) -> None:
    """Events do not hold the world switch; it was added, and the software around it is in both."""
    from_events = bool(evidence.events) or any(not table.is_simulated for table in evidence.tables)
    source = ledger.costs[SWITCH[0]].combination
    if from_events and source:
        ledger.notes.append(
            f"the world switch was added to what perf or events measured, from {_listed(source)}; "
            "the software that every exit passes is in both, so exits may come out a little dear"
        )


def _listed(names: Iterable[str]) -> str:
    return " + ".join(names)


def _sum(expression: Mapping[str, float]) -> str:
    """A weighted sum in words: ``0.5 × inl_from_qemu - 0.5 × inl_from_kernel``."""
    parts = []
    for place, (name, weight) in enumerate(expression.items()):
        sign = ("- " if weight < 0 else "+ ") if place else "-" * (weight < 0)
        size = abs(weight)
        parts.append(f"{sign}{'' if size == 1 else f'{size:.4g} × '}{name}")
    return " ".join(parts)
