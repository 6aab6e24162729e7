"""The command that writes JSON Schemas of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import OUTPUT, Flag, app, print_json
from vmexit_sim.errors import InputError


@app.command
def schema(
    name: str | None = None,
    /,
    *,
    keys: Flag = False,
    all_: Annotated[Flag, Parameter(name="--all")] = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], group=OUTPUT)] = None,
) -> None:
    """Write JSON Schemas of the files, for editors; without arguments, say which there are.

    An editor that reads `#:schema FILE` at the top of a TOML file (Taplo, Even Better TOML, Tombi)
    then completes keys, explains them and marks mistakes.

    Parameters
    ----------
    name
        What a schema is wanted of: scenario, study, policy, …
    keys
        Print the keys as tables (Markdown) in place of the schema: values, defaults, meaning.
    all_
        Write all of them, each into NAME.schema.json in the folder OUTPUT.
    output
        The file to write the schema to, or the folder; by default a single one is printed.
    """
    if all_ and (name is not None or output is None):
        raise InputError("writes every schema into a folder", key="--all",
                         mend="give that folder alone: --all --output FOLDER")  # fmt: skip
    if not all_ and name is None and output is not None:
        raise InputError("has no schema to hold", key="--output", value=str(output),
                         mend="name one, or write --all")  # fmt: skip
    if keys and (name is None or output is not None):
        raise InputError("prints the keys of one kind of file", key="--keys",
                         mend="name it, and leave out --output")  # fmt: skip

    from vmexit_sim.present import schemas

    if name is not None:
        made = schemas.schema(name)
        if keys:
            from vmexit_sim.present.schema_tables import key_tables

            print(key_tables(made), end="")
        elif output is None:
            print_json(made)
        else:
            _write(output, made)
        return
    if output is None:
        widest = max(map(len, schemas.SCHEMAS))
        for each, found in schemas.SCHEMAS.items():
            print(f"{each:{widest}}  {found.about} ({found.where})")
        return
    if not output.is_dir():
        raise InputError("is no existing folder", file=output, mend="make it first")
    for each in schemas.SCHEMAS:
        _write(output / f"{each}{schemas.ENDING}", schemas.schema(each))


def _write(path: Path, made: dict[str, object]) -> None:
    from vmexit_sim.output import write_content

    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    write_content(path, text)
    print(path)
