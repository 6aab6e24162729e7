"""Every access's record as a Parquet file, for notebooks and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from vmexit_sim import __version__
from vmexit_sim.measure.records import RunResult
from vmexit_sim.output import write_whole


def save_records(results: Mapping[str, RunResult], path: Path) -> None:
    """Write the rows that runs kept.

    One row per access: ``block``, ``vcpu``, ``row`` (its place in the vCPU's program order),
    ``operation``, the moments ``due``, ``start``, ``resume``, ``posted``, ``done`` (-1: never),
    ``stall``, ``exits``, and a column ``stage: …`` for each stage. Times are in ps.

    Args:
        results: by block name.
        path: the file to write; replaced only when it is complete.

    Raises:
        InputError: it cannot be written.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = []
    for block, result in results.items():
        frame = pd.DataFrame(result.to_columns())
        frame.insert(0, "block", block)
        frames.append(frame)
    table = pa.Table.from_pandas(pd.concat(frames, ignore_index=True).fillna(0),
                                 preserve_index=False)  # fmt: skip
    about = json.dumps({"version": __version__, "unit": "ps"})
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), "vmexit-sim": about})
    write_whole(path, lambda partial: pq.write_table(table, partial, compression="zstd"))
