"""What a machine may lack: a home, a cache, an optional package, a clock that only goes forward."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from processes import SMALL, run

from vmexit_sim.cli import main
from vmexit_sim.study.sweep import load_study, plan, run_study

NOWHERE = "/proc/nowhere"
STUDY = 'scenario = "./small.toml"\n[factors]\ncpus = [1, 2, 3]\n'


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def test_without_a_home_and_any_cache_a_figure_is_drawn(study: Path) -> None:
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "NUMBA_CACHE_DIR",
             "MPLCONFIGDIR")  # fmt: skip
    ended = run("figure", "stages", "small.toml", "--engine", "simpy", "-o", "x.svg",
                cwd=study.parent, env=dict.fromkeys(names, NOWHERE))  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert (study.parent / "x.svg").stat().st_size > 1_000


EXTRAS = {
    "cluster": ("distributed", ["sweep", "study.toml", "--scheduler", "tcp://127.0.0.1:1"]),
    "screen": ("SALib", ["screen", "small.toml", "--between", "linux-default", "hypercall"]),
    "explore": ("starlette", ["explore", "--no-open", "--port", "0"]),
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_without_an_extra_its_command_says_how_to_get_it(
    extra: str, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, arguments = EXTRAS[extra]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("vmexit_sim.explorer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(study.parent)
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    said = capsys.readouterr().err
    assert leaving.value.code == 2, said
    assert f"pip install 'vmexit-sim[{extra}]'" in said.strip().splitlines()[-1]


def test_a_clock_that_jumps_changes_nothing(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(name: str) -> bytes:
        run_study(plan(load_study(str(study))[0], study), study.parent / name)
        return (study.parent / name / "results.parquet").read_bytes()

    steady = kept("steady")
    jumps = iter(range(10**9, 0, -(10**5)))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    monkeypatch.setattr(time, "time_ns", lambda: next(jumps) * 10**9)
    assert kept("jumping") == steady


def test_a_folder_of_results_that_is_in_ruins_is_set_right(study: Path) -> None:
    planned = plan(load_study(str(study))[0], study)
    folder = study.parent / "kept"
    run_study(planned, folder)
    whole = (folder / "results.parquet").read_bytes()
    cut, empty, sound = sorted((folder / "points").glob("*.arrow"))
    untouched = sound.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:100])
    empty.write_bytes(b"")
    (folder / "results.parquet").write_bytes(whole[:200])
    (folder / "points" / "x.arrow.partial").write_bytes(b"half")
    again = run_study(planned, folder)
    assert (again.computed, again.stored) == (2, 1)
    assert (folder / "results.parquet").read_bytes() == whole
    assert sound.stat().st_mtime_ns == untouched
    assert {path.name for path in (folder / "quarantine").iterdir()} == {cut.name, empty.name}
    assert not list(folder.rglob("*.partial"))


def test_too_little_memory_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hoard(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("vmexit_sim.study.compare.compare", hoard)
    monkeypatch.setattr("os._exit", sys.exit)  # if another test has left a thread
    with pytest.raises(SystemExit) as leaving:
        main(["compare", "spread"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert leaving.value.code == 1
    assert said == (
        "vmexit-sim: not enough memory: Unable to allocate 9 TiB; give fewer vCPUs, accesses or "
        "replications"
    )
