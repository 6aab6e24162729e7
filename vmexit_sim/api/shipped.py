"""Shipped: the models that come with the simulator, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmexit_sim.api.shown import Shown

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ModelList(Shown):
    """The shipped models.

    Attributes:
        titles: each model's title, by kind ("platforms", "policies", …) and name.
    """

    titles: Mapping[str, Mapping[str, str]]

    def to_frame(self) -> pd.DataFrame:
        """One row for each model: `kind`, `name`, `title`."""
        import pandas as pd

        rows = [
            (kind, name, title)
            for kind, titles in self.titles.items()
            for name, title in titles.items()
        ]
        return pd.DataFrame(rows, columns=["kind", "name", "title"])

    def _report(self) -> RenderableType:
        from vmexit_sim.present.model_tables import model_list

        return model_list()

    def _summary(self) -> str:
        return ", ".join(f"{len(titles)} {kind}" for kind, titles in self.titles.items())


def models() -> ModelList:
    """The shipped models by kind and name: ``vmexit-sim models``."""
    from vmexit_sim.present.model_tables import model_titles

    return ModelList(titles=model_titles())
