"""What rows of published numbers have in common."""

from __future__ import annotations

from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.validation.claim import SCATTER, Claim, Expected, Role


class Published:
    """Rows of one group.

    Args:
        group: what they are about.
        source: where the numbers stand, unless a row says otherwise.
    """

    def __init__(self, group: str, source: str) -> None:
        self.group, self.source = group, source

    def row(
        self,
        claim: str,
        expected: Expected | str,
        simulated: float | Estimate,
        unit: str,
        role: Role,
        *,
        source: str = "",
        why: str = "",
        tolerance: float | None = None,
    ) -> Claim:
        """One row.

        Args:
            claim: what is claimed.
            expected: the number; as text: as it was printed.
            simulated: the simulator's; a bare number has no chance in it.
            unit: of both.
            role: how the published number stands to the model.
            source: where it stands, if not where the group's do.
            why: why they disagree, or what one must know.
            tolerance: how far off it may be; None: `SCATTER` for a prediction of a number, else
                nothing (a published range has its own room).
        """
        known = Expected.published(expected) if isinstance(expected, str) else expected
        found = simulated if isinstance(simulated, Estimate) else exact(simulated, unit=unit)
        if tolerance is None:
            is_range = isinstance(expected, Expected) and expected.low < expected.high
            tolerance = SCATTER if role == "prediction" and not is_range else 0.0
        return Claim(
            kind="published", group=self.group, claim=claim, source=source or self.source,
            role=role, expected=known, simulated=found, tolerance=tolerance, why=why,
        )  # fmt: skip
