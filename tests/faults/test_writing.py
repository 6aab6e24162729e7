"""A disk that is full, a folder that may not be written, an interrupt in the middle: whatever
command writes, what was there is still there, and nothing half-written is beside it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, SMALL, run

from vmexit_sim.errors import InputError
from vmexit_sim.output import write_whole

HERE = Path(__file__).parent
OLD = b"what was there before"
TESTS = "tsc: Detected 2400.000 MHz\ncpuid 1291\nvmcall 1181\ninl_from_qemu 6209\n"
LINE = "7@1.{:06}:memory_region_ops_read cpu 0 mr 0x5 addr 0x70 value 0x0 size 1 name 'rtc'\n"

OUTPUTS = {
    "result.json": ["compare", "small.toml", "-o"],
    "rows.parquet": ["run", "small.toml", "--records"],
    "perf.txt": ["run", "small.toml", "--perf"],
    "page.html": ["report", "small.toml", "-o"],
    "trace.json": ["timeline", "small.toml", "-o"],
    "stages.svg": ["figure", "stages", "small.toml", "-o"],
    "crossing.svg": ["crossover", "small.toml", "--between", "linux-default", "hypercall",
                     "--along", "costs.to_user", "--from", "1us", "--to", "2us", "--points", "2",
                     "--figure"],
    "map.svg": ["decide", "small.toml", "--across", "costs.to_user=1us..2us:2", "--up",
                "costs.to_kernel=1us..2us:2", "--jobs", "1", "--figure"],
    "host.toml": ["calibrate", "tests.log", "-o"],
    "guest.parquet": ["trace", "import", "guest.log", "-o"],
    "scenario.schema.json": ["schema", "scenario", "-o"],
}  # fmt: skip
"""By the file that it writes, each command that writes one; `probe` writes as `calibrate` does."""

FAULTS = {"full": 2, "read-only": 2, "interrupted": 130}


def ended(fault: str, folder: Path) -> dict[str, tuple[int, str]]:
    """What each command ended with, and what it said, in a folder where its file was before."""
    inputs = {"small.toml": SMALL, "tests.log": TESTS, "guest.log": LINE.format(1) + LINE.format(2)}
    for name, text in inputs.items():
        (folder / name).write_text(text)
    for name in OUTPUTS:
        (folder / name).write_bytes(OLD)
    process = subprocess.run(
        [sys.executable, str(HERE / "commands.py"), fault, str(folder)], text=True,
        input=json.dumps([[*words, name] for name, words in OUTPUTS.items()]), check=False,
        capture_output=True, timeout=2 * PATIENCE,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return dict(zip(OUTPUTS, json.loads(process.stdout), strict=True))


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_old_file_is_whole_and_nothing_is_beside_it(
    fault: str, tmp_path: Path
) -> None:
    before = {"small.toml", "tests.log", "guest.log", *OUTPUTS}
    for name, (status, said) in ended(fault, tmp_path).items():
        assert status == FAULTS[fault], said
        last = said.strip().splitlines()[-1]
        if fault == "interrupted":
            assert last == "vmexit-sim: interrupted"
        else:
            place = rf"{re.escape(name)}: (--figure: )?"
            assert re.fullmatch(rf"vmexit-sim: {place}cannot be written: .+", last)
        assert "Traceback" not in said
        assert (tmp_path / name).read_bytes() == OLD
    assert {each.name for each in tmp_path.iterdir()} == before


def test_a_folder_of_schemas_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "scenario.schema.json").write_bytes(OLD)
    no_cache = {"PYTHONDONTWRITEBYTECODE": "1"}  # a module's, cut short by the limit
    done = run("schema", "--all", "-o", ".", cwd=tmp_path, preexec=full, env=no_cache)
    assert done.returncode == 2
    said, *_ = done.stderr.splitlines()  # where coverage is measured, its own file does not fit
    assert re.fullmatch(r"vmexit-sim: .+\.schema\.json: cannot be written: .+", said)
    assert [each.name for each in tmp_path.iterdir()] == ["scenario.schema.json"]
    assert (tmp_path / "scenario.schema.json").read_bytes() == OLD


def full() -> None:
    """Let no file grow beyond a few bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))


def test_what_cannot_take_its_place_is_put_away(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    for error in (KeyboardInterrupt(), MemoryError(), ValueError("of a writer")):

        def write(partial: Path, error: BaseException = error) -> None:
            partial.write_bytes(b"half")
            raise error

        with pytest.raises(type(error)):
            write_whole(path, write)
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("folder", ["/proc", "/sys"])
def test_a_file_system_that_takes_no_file_is_told(folder: str) -> None:
    with pytest.raises(InputError, match=rf"{folder}/x\.json: cannot be written"):
        write_whole(Path(folder) / "x.json", lambda partial: partial.write_text("x") and None)


def test_a_full_device_ends_printing_with_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "vmexit_sim.cli", "models"], stdout=full, cwd=tmp_path,
            stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (
        1, f"vmexit-sim: output cannot be written: {os.strerror(28)}\n"
    )  # fmt: skip


def test_a_reader_that_has_seen_enough_ends_printing_quietly(tmp_path: Path) -> None:
    show = f"{sys.executable} -m vmexit_sim.cli models show kvm-2017 | head -n 1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", show], capture_output=True, text=True,
                           cwd=tmp_path, timeout=PATIENCE, check=False)  # fmt: skip
    assert (ended.returncode, ended.stderr, ended.stdout.count("\n")) == (0, "", 1)
