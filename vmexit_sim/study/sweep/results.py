"""Results: everything a study came to, as one tidy table.

One row for each point, block, policy and metric: the factors' values (times in ps), the estimate
whole (value, low, high, n, confidence, method, unit), seed, versions, and the configuration's key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vmexit_sim.errors import InputError
from vmexit_sim.output import write_whole
from vmexit_sim.parquet_file import read_parquet
from vmexit_sim.study.metrics import refuse_unknown
from vmexit_sim.study.sweep.factor import column_value
from vmexit_sim.study.sweep.store import RESULTS, Store
from vmexit_sim.study.sweep.study_file import COLUMNS, Plan

if TYPE_CHECKING:
    import pandas as pd

ABOUT = b"vmexit-sim study"
POINTS_AT_ONCE = 500
"""Points that are in memory while the table is written."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """A study's results.

    Attributes:
        frame: the tidy table.
        factors: the factors' names, in the study's order, and their units ("" for text).
        name: the study's name.
        question: what it asks.
    """

    frame: pd.DataFrame
    factors: dict[str, str]
    name: str
    question: str

    def of(self, metric: str, block: str | None = None) -> pd.DataFrame:
        """One metric's rows.

        Raises:
            InputError: no such metric.
        """
        refuse_unknown(metric, self.frame["metric"].unique())
        chosen = self.frame["metric"] == metric
        if block is not None:
            chosen &= self.frame["block"] == block
        return self.frame[chosen].reset_index(drop=True)

    def to_xarray(self) -> Any:
        """The same as an `xarray.Dataset` of value, low, high and n.

        Dimensions are the factors (if the points are a full grid of them; otherwise ``point``, with
        the factors as its coordinates), block, policy and metric.

        Raises:
            InputError: xarray is not installed.
        """
        try:
            import xarray
        except ImportError:
            raise InputError("needs xarray, which is not installed", key="to_xarray",
                             mend="pip install 'vmexit-sim[xarray]'") from None  # fmt: skip
        inner = ["block", "policy", "metric"]
        names = list(self.factors)
        values = self.frame[["point", *names]].drop_duplicates("point")
        sizes = [values[name].nunique() for name in names]
        full = int(np.prod(sizes)) == len(values) == len(values[names].drop_duplicates())
        outer = names if full else ["point"]
        columns = self.frame[[*outer, *inner, "value", "low", "high", "n"]]
        twice = columns[columns.duplicated([*outer, *inner])]
        if len(twice):
            first = twice.iloc[0]
            raise InputError(f"has two rows for policy {first['policy']!r} of block "
                             f"{first['block']!r} at one point", key="to_xarray",
                             mend="give each block and policy a name of its own")  # fmt: skip
        made = xarray.Dataset.from_dataframe(columns.set_index([*outer, *inner]))
        if not full:
            values = values.set_index("point")
            made = made.assign_coords({name: ("point", values[name]) for name in names})
        text = [name for name in made.coords if made[name].dtype.kind not in "if"]
        made = made.assign_coords({name: (made[name].dims, made[name].values.astype(str))
                                   for name in text})  # fmt: skip
        for name, unit in self.factors.items():
            made[name].attrs["unit"] = unit
        return made


def write_results(plan: Plan, keys: Mapping[int, str], store: Store, path: Path) -> None:
    """Write what the store holds of a plan, in the design's order.

    The same points give the same bytes, however they came there.

    Raises:
        InputError: it cannot be written.
    """
    import pyarrow.parquet as pq

    columns = {
        name: [column_value(p.values[name]) for p in plan.points] for name in plan.study.factors
    }
    units = {name: _common([unit for _, unit in column]) for name, column in columns.items()}
    about = {"name": plan.study.name, "question": plan.study.question, "factors": units}

    def write(partial: Path) -> None:
        writer = None
        for group in _groups(plan, keys, store, units):
            table = group.replace_schema_metadata({ABOUT: json.dumps(about, ensure_ascii=False)})
            writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()

    if any(store.has(key) for key in keys.values()):
        write_whole(path, write)
    else:  # every point failed: what an earlier run left is no result of this one
        path.unlink(missing_ok=True)


def _groups(
    plan: Plan, keys: Mapping[int, str], store: Store, units: Mapping[str, str]
) -> Iterator[Any]:
    import pyarrow as pa

    ready: list[Any] = []
    for point in plan.points:
        key = keys.get(point.number)
        if key is None or not store.has(key):
            continue
        ready.append(_whole_rows(point.number, point.values, key, store.table(key), units))
        if len(ready) == POINTS_AT_ONCE:
            yield pa.concat_tables(ready).unify_dictionaries().combine_chunks()
            ready = []
    if ready:
        yield pa.concat_tables(ready).unify_dictionaries().combine_chunks()


def _whole_rows(
    number: int, values: Mapping[str, Any], key: str, own: Any, units: Mapping[str, str]
) -> Any:
    """A point's rows with what is the same in all of them."""
    import pyarrow as pa

    about = {name.decode(): text.decode() for name, text in own.schema.metadata.items()}
    n = own.num_rows

    def same(value: Any) -> Any:
        if isinstance(value, str):
            indices = pa.array(np.zeros(n, np.int32))
            return pa.DictionaryArray.from_arrays(indices, pa.array([value]))
        return pa.array(np.full(n, value, getattr(value, "dtype", None)))

    before = {"point": same(number)}
    for name, value in values.items():
        number_or_text, unit = column_value(value)
        before[name] = same(number_or_text if unit == units[name] else str(value))
    after = {
        "seed": same(np.uint64(about["seed"])),
        "version": same(about["version"]),
        "numpy": same(about["numpy"]),
        "configuration": same(key),
    }
    inner = {name: own.column(name).combine_chunks() for name in own.column_names}
    return pa.table({**before, **inner, **after})


def _common(units: list[str]) -> str:
    """The unit of all of a column's values; "" if they have none in common: then it is text."""
    return units[0] if len(set(units)) == 1 else ""


def open_results(path: Path | str) -> Results:
    """Open a study's results.

    Args:
        path: the folder of results, or its table.

    Raises:
        InputError: there are none, or it is no such table.
    """
    import pyarrow as pa

    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        table = read_parquet(path)
        about = json.loads(table.schema.metadata[ABOUT])
        _refuse_other(table, about)
        frame = table.to_pandas()
    except FileNotFoundError:
        raise InputError("holds no results", file=path, mend="run the study first") from None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"is no table of results: {error}", file=path) from None
    return Results(frame=frame, factors=about["factors"], name=about["name"],
                   question=about["question"])  # fmt: skip


def _refuse_other(table: Any, about: Any) -> None:
    """Refuse a table that `write_results` cannot have written.

    Raises:
        ValueError: a column or a fact of the study is missing, or of another kind.
    """
    import pyarrow.types as types

    if not isinstance(about, dict) or not all(
        isinstance(about.get(key), kind)
        for key, kind in (("name", str), ("question", str), ("factors", dict))
    ):
        raise ValueError("its metadata are not a study's")
    for name in (*about["factors"], *COLUMNS):
        if name not in table.column_names:
            raise ValueError(f"it has no column {name}")
    for name in ("point", "value", "low", "high", "n", "confidence"):
        kind = table.schema.field(name).type
        if not (types.is_integer(kind) or types.is_floating(kind)):
            raise ValueError(f"its column {name} holds {kind}")
    for name in ("block", "policy", "metric", "method", "unit"):
        kind = table.schema.field(name).type
        if not (types.is_dictionary(kind) and types.is_string(kind.value_type)):
            raise ValueError(f"its column {name} holds {kind}")
