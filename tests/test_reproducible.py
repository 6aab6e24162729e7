"""The same bytes come out, whatever the machine, the environment and the hour."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KNOWN = ROOT / "tests" / "known" / "default_command.txt"

# What NumPy chooses its vector code by: all that may be above its baseline on x86-64.
PLAIN = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3 AVX F16C"
# A C library that must not use fused multiply-add has other roundings of exp and log.
UNFUSED = "glibc.cpu.hwcaps=-FMA,-AVX2,-AVX,-FMA4,-AVX2_Usable,-FMA_Usable"

OTHERWISE = {
    "PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C",
    "NPY_DISABLE_CPU_FEATURES": PLAIN, "GLIBC_TUNABLES": UNFUSED,
    "OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip


def printed(*arguments: str, env: Mapping[str, str], cwd: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "vmexit_sim.cli", *arguments], cwd=cwd, env={**os.environ, **env},
        capture_output=True, check=True, timeout=120, encoding="utf-8",
    )  # fmt: skip
    return ended.stdout


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        pytest.param([], {"PYTHONHASHSEED": "1"}, id="as it is"),
        pytest.param(["--jobs", "1"], OTHERWISE, id="plain processor, other locale and zone"),
    ],
)
def test_the_default_command_prints_these_bytes(
    arguments: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    """After a change of meaning: `vmexit-sim compare > tests/known/default_command.txt`."""
    known = KNOWN.read_text(encoding="utf-8")
    now = printed("compare", *arguments, env={"PYTHONUTF8": "1", **env}, cwd=tmp_path)
    assert now == known, "".join(
        difflib.unified_diff(
            known.splitlines(keepends=True), now.splitlines(keepends=True), str(KNOWN), "now"
        )
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """The folders of two builds, from two copies with other times at two hours."""
    pytest.importorskip("hatchling")
    folders = []
    for number, epoch in enumerate((1_000_000_000, 1_600_000_000)):
        copy = tmp_path_factory.mktemp(f"tree{number}") / f"copy{number}"
        shutil.copytree(ROOT, copy, copy_function=shutil.copyfile, ignore=_not_shipped)
        for path in copy.rglob("*"):
            os.utime(path, (epoch, epoch))
        out = tmp_path_factory.mktemp(f"out{number}")
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-d", out], cwd=copy, check=True,
            capture_output=True, timeout=120, env={**os.environ, "TZ": f"UTC{number}"},
        )  # fmt: skip
        folders.append(out)
    yield folders
    for folder in folders:
        shutil.rmtree(folder)


def test_two_builds_are_equal_byte_for_byte(built: list[Path]) -> None:
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in built)
    assert sorted(first) == ["vmexit_sim-0.1.0-py3-none-any.whl", "vmexit_sim-0.1.0.tar.gz"]
    assert first == second


def test_a_wheel_holds_the_package_its_data_and_nothing_else(built: list[Path]) -> None:
    names = zipfile.ZipFile(next(built[0].glob("*.whl"))).namelist()
    assert {name.split("/")[0] for name in names} == {
        "vmexit_sim", "vmexit_sim-0.1.0.dist-info"
    }  # fmt: skip
    for folder in ("vmexit_sim", "models"):
        shipped = {
            f"{'vmexit_sim/' if folder == 'models' else ''}{path.relative_to(ROOT)}"
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert shipped <= set(names)


def test_a_source_distribution_can_be_tested(built: list[Path]) -> None:
    with tarfile.open(next(built[0].glob("*.tar.gz"))) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"vmexit_sim", "models", "experiments", "notebooks", "tests", "docs", "benchmarks",
            "README.md", "CHANGELOG.md", "LICENSE", "constraints.txt"} <= top  # fmt: skip


def _not_shipped(folder: str, names: list[str]) -> list[str]:
    """What a working tree holds besides the sources."""
    hidden = [name for name in names if name.startswith(".") and name != ".gitignore"]
    made = {"__pycache__", "results", "build", "dist", "site"}
    return [*hidden, *(name for name in names if name in made or name.endswith(".egg-info"))]
