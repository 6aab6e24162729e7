"""Results: one tidy table, as pandas and as xarray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep import Results, Study, open_results, plan, results, run_study
from vmexit_sim.study.sweep.study_file import COLUMNS

GUEST = {"kind": "spread", "operations": 4, "between": "1 us", "read_share": 1, "space": "mmio"}
SCENARIO = {"platform": "ideal", "policies": ["linux-default", "hypercall"],
            "blocks": [{"guest": GUEST, "name": "b"}]}  # fmt: skip


def found(folder: Path, **keys: Any) -> Results:
    stated = {"name": "mine", "question": "Why?", "scenario": SCENARIO, **keys}
    return run_study(plan(checked(Study, stated)), folder, engine="simpy").results


GRID = {"costs.world_switch_out": ["3 us", "1 us"], "platform": ["kvm-2013", "ideal"]}


def test_a_table_has_the_factors_and_the_columns_of_every_result(tmp_path: Path) -> None:
    made = found(tmp_path, factors=GRID)
    assert list(made.frame) == [COLUMNS[0], *GRID, *COLUMNS[1:]]
    assert (made.name, made.question) == ("mine", "Why?")
    assert made.factors == {"costs.world_switch_out": "ps", "platform": ""}
    one = made.of("added")
    assert one["costs.world_switch_out"].tolist() == [3e6] * 4 + [1e6] * 4
    assert one["platform"].tolist() == (["kvm-2013"] * 2 + ["ideal"] * 2) * 2
    assert one["policy"].tolist() == ["linux-default", "hypercall"] * 4
    assert set(one["method"]) == {"exact"}
    assert set(one["unit"]) == {"ps"}
    assert (one["low"] == one["value"]).all()
    ratios = made.of("ratio")
    assert ratios[ratios["policy"] == "linux-default"]["value"].tolist() == [1] * 4


def test_the_table_can_be_read_without_this_package(tmp_path: Path) -> None:
    import pandas as pd

    made = found(tmp_path, factors=GRID)
    frame = pd.read_parquet(tmp_path / "results.parquet")
    assert frame.equals(made.frame)
    assert open_results(tmp_path).frame.equals(open_results(tmp_path / "results.parquet").frame)


def test_a_metric_is_found_by_name_and_block(tmp_path: Path) -> None:
    blocks = [{"guest": GUEST, "name": "b"}, {"guest": {**GUEST, "operations": 8}, "name": "c"}]
    made = found(tmp_path, factors={"cpus": [1, 2]}, set={"blocks": blocks})
    assert made.of("accesses")["value"].tolist() == [4, 4, 8, 8] * 2
    assert made.of("accesses", "c")["value"].tolist() == [8, 8] * 2
    with pytest.raises(InputError, match="'aded' is no metric of this study; did you mean 'added'"):
        made.of("aded")


@pytest.mark.parametrize(
    ("values", "column", "unit"),
    [
        ([True, False], ["true", "false"], ""),
        ([[], ["mmio"]], ["[]", '["mmio"]'], ""),
        ([1, 2.5], [1.0, 2.5], "1"),
        (["1 us", "2 ms"], [1e6, 2e9], "ps"),
        (["1 us", "2 cycles"], ["1 us", "2 cycles"], ""),
        (["1 us", {"kind": "constant", "value": "2 us"}],
         ["1 us", '{"kind": "constant", "value": "2 us"}'], ""),
        (["a", 1], ["a", "1"], ""),
    ],
)  # fmt: skip
def test_a_factors_column_is_in_one_unit_or_text(
    values: list[Any], column: list[Any], unit: str
) -> None:
    units = {"f": results._common([results.column_value(value)[1] for value in values])}
    assert units == {"f": unit}
    import pyarrow as pa

    own = pa.table({"metric": ["m"]}).replace_schema_metadata(
        {"seed": "1", "version": "0", "numpy": "0"}
    )
    rows = [results._whole_rows(0, {"f": value}, "key", own, units) for value in values]
    assert pa.concat_tables(rows)["f"].to_pylist() == column


def test_a_grid_becomes_a_cube(tmp_path: Path) -> None:
    made = found(tmp_path, factors=GRID)
    cube = made.to_xarray()
    assert dict(cube.sizes) == {
        "costs.world_switch_out": 2, "platform": 2, "block": 1, "policy": 2,
        "metric": made.frame["metric"].nunique(),
    }  # fmt: skip
    assert cube["costs.world_switch_out"].attrs == {"unit": "ps"}
    assert set(cube.data_vars) == {"value", "low", "high", "n"}
    for row in made.frame.itertuples():
        at = cube.sel({"costs.world_switch_out": row[2], "platform": row.platform,
                       "block": row.block, "policy": row.policy, "metric": row.metric})  # fmt: skip
        assert float(at["value"]) == row.value or np.isnan(row.value)
        assert float(at["n"]) == row.n
    assert cube["policy"].dtype.kind == "U"  # can be written to a file


def test_what_only_some_policies_have_is_not_a_number_in_the_others(tmp_path: Path) -> None:
    made = found(tmp_path, factors={"cpus": [1, 2]},
                 set={"policies": ["linux-default", "batched-oracle"], "platform": "kvm-2013"},
                 )  # fmt: skip
    gathered = made.to_xarray()["value"].sel(metric="stage.gather")
    assert np.isnan(gathered.sel(policy="linux-default")).all()


@pytest.mark.parametrize(
    "keys",
    [
        {"constraints": ["cpus <= replications"]},
        {"lockstep": [["cpus", "replications"]]},
        {"design": {"kind": "latin-hypercube", "points": 3}},
    ],
    ids=["constrained", "lockstep", "sampled"],
)
def test_what_is_no_grid_becomes_a_list_of_points(keys: dict[str, Any], tmp_path: Path) -> None:
    made = found(tmp_path, factors={"cpus": [1, 2, 3], "replications": [1, 2, 3]}, **keys)
    cube = made.to_xarray()
    points = made.frame["point"].nunique()
    assert cube.sizes["point"] == points < 9
    assert set(cube.coords) == {"point", "cpus", "replications", "block", "policy", "metric"}
    assert cube["cpus"].dims == ("point",)
    for number in range(points):
        rows = made.frame[(made.frame["point"] == number) & (made.frame["metric"] == "added")]
        at = cube.sel(point=number, metric="added")
        assert float(at["cpus"]) == rows["cpus"].iloc[0]
        assert at["value"].sel(block="b", policy="hypercall") == rows["value"].iloc[1]


def test_a_grid_with_a_failed_point_is_no_cube(tmp_path: Path) -> None:
    factors = {
        "platform": ["ideal", "bare-metal-2022"],
        "policies": [["hypercall"], ["bare-metal"]],
    }
    cube = found(tmp_path, factors=factors).to_xarray()  # without a hypervisor nothing traps
    assert cube["point"].values.tolist() == [0, 1, 3]
    assert cube["policies"].values.tolist() == ['["hypercall"]', '["bare-metal"]', '["bare-metal"]']
    factors = {"platform": ["ideal", "kvm-2013", "idael"], "cpus": [1, 2]}
    assert "point" not in found(tmp_path, factors=factors).to_xarray().sizes  # what is left is one


def test_blocks_of_one_name_make_no_cube(tmp_path: Path) -> None:
    made = found(tmp_path, factors={"cpus": [1]}, set={"blocks": [{"guest": GUEST}] * 2})
    assert len(made.of("added")) == 4
    with pytest.raises(InputError, match="two rows for policy 'linux-default' of block 'mine'"):
        made.to_xarray()


def test_without_xarray_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = found(tmp_path, factors={"cpus": [1]})
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(InputError, match=r"pip install 'vmexit-sim\[xarray\]'"):
        made.to_xarray()


def test_many_points_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = {"costs.to_user": [f"{n} us" for n in range(1, 8)], "platform": ["ideal", "kvm-2013"]}
    whole = found(tmp_path, factors=factors)
    monkeypatch.setattr(results, "POINTS_AT_ONCE", 3)
    parts = found(tmp_path, factors=factors)
    assert whole.frame.astype(object).equals(parts.frame.astype(object))


def test_what_is_no_table_of_results_is_refused(tmp_path: Path) -> None:
    import pandas as pd

    with pytest.raises(InputError, match="holds no results; run the study first"):
        open_results(tmp_path)
    (tmp_path / "text.parquet").write_text("text")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name in ("text.parquet", "other.parquet"):
        with pytest.raises(InputError, match="is no table of results"):
            open_results(tmp_path / name)
