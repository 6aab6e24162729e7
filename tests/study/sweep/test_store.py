"""The store: what is there is whole, what is damaged is told, and one run works on it at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep import Study, plan, run_study
from vmexit_sim.study.sweep import store as store_module
from vmexit_sim.study.sweep.store import RESULTS, Store

GUEST = {"kind": "spread", "operations": 3, "between": "1 us", "read_share": 1, "space": "mmio"}
SCENARIO = {"platform": "ideal", "policies": ["hypercall"], "blocks": [{"guest": GUEST}]}


def small(n: int = 3) -> Any:
    values = [f"{number} us" for number in range(1, n + 1)]
    stated = {"name": "small", "scenario": SCENARIO, "factors": {"costs.to_user": values}}
    return plan(checked(Study, stated))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(tmp_path / "results")
    with made.locked():
        yield made


def test_what_is_kept_is_there(store: Store) -> None:
    assert not store.has("a")
    assert not store.holds("a")
    store.keep("a", b"content")
    assert store.has("a")
    assert store.holds("a")
    (path,) = store.points.iterdir()
    assert path.read_bytes() == b"content"
    assert path.name == "a-ed7002b439e9ac84.arrow"  # sha256sum of "content"


def test_another_store_finds_it(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    with one.locked():
        one.keep("a", b"content")
    assert not other.has("a")
    with other.locked():
        assert other.holds("a")


@pytest.mark.parametrize("damage", [b"", b"conten", b"Content", b"content and more"])
def test_damage_is_told_and_put_aside(store: Store, damage: bytes) -> None:
    store.keep("a", b"content")
    (path,) = store.points.iterdir()
    path.write_bytes(damage)
    assert not store.holds("a")
    assert not store.has("a")
    assert not path.exists()
    assert (store.quarantine / path.name).read_bytes() == damage
    store.keep("a", b"content")
    assert store.holds("a")


def test_a_failure_is_forgotten_once_its_point_succeeds(store: Store) -> None:
    path = store.keep_failure("a", "why")
    assert path.read_text() == "why"
    assert not store.holds("a")
    store.keep("a", b"content")
    assert not path.exists()


def test_a_full_disk_leaves_nothing_half_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def fill(path: Path, content: bytes) -> None:
        write(path, content[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.keep("a", b"content")
    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        store.keep("b", b"content")
    assert [path.name.partition("-")[0] for path in store.points.iterdir()] == ["a"]
    assert store.holds("a")
    assert not store.has("b")


def test_a_full_disk_ends_a_run_and_the_next_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_bytes, []

    def fill(path: Path, content: bytes) -> None:
        if path.parent.name == "points" and len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(InputError, match="No space left on device"):
        run_study(small(), tmp_path, engine="simpy")
    monkeypatch.undo()
    outcome = run_study(small(), tmp_path, engine="simpy")
    assert (outcome.stored, outcome.computed) == (2, 1)


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    run_study(small(), tmp_path, engine="simpy")
    left = [tmp_path / folder / "x.partial" for folder in ("", "points", "failed")]
    for path in left:
        path.write_bytes(b"half")
    with Store(tmp_path).locked():
        assert not any(path.exists() for path in left)
    assert run_study(small(), tmp_path, engine="simpy").stored == 3


def test_damaged_points_are_computed_anew_and_no_others(tmp_path: Path) -> None:
    run_study(small(), tmp_path, engine="simpy")
    table = (tmp_path / RESULTS).read_bytes()
    paths = sorted((tmp_path / "points").iterdir())
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(whole[0][:-1])
    paths[1].unlink()
    untouched = paths[2].stat().st_ino
    outcome = run_study(small(), tmp_path, engine="simpy")
    assert (outcome.stored, outcome.computed, outcome.failures) == (1, 2, {})
    assert [path.read_bytes() for path in paths] == whole
    assert paths[2].stat().st_ino == untouched
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == [paths[0].name]
    assert (tmp_path / RESULTS).read_bytes() == table


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    run_study(small(), tmp_path, engine="simpy")
    for name in ("notes.txt", "mine.arrow", "README"):
        (tmp_path / "points" / name).write_text("mine")
    assert run_study(small(), tmp_path, engine="simpy").stored == 3
    assert (tmp_path / "points/mine.arrow").read_text() == "mine"


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    with one.locked(), pytest.raises(InputError, match="in use by another run"), other.locked():
        pytest.fail("both have it")
    with other.locked():
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vmexit_sim.study.sweep.store import Store
with Store(Path({str(tmp_path)!r})).locked():
    print("has it", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        with pytest.raises(InputError, match="in use by another run"), Store(tmp_path).locked():
            pytest.fail("both have it")
        process.kill()
    with Store(tmp_path).locked():
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/results", Path("/proc/results")):
        with pytest.raises(InputError, match=r"cannot hold results: .*; name another folder"):
            Store(folder)


def test_a_folder_that_may_only_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    opened = Path.open

    def refuse(self: Path, mode: str = "r", *args: Any, **keys: Any) -> Any:
        if "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(self, mode, *args, **keys)

    monkeypatch.setattr(Path, "open", refuse)
    says = "cannot hold results: Read-only file system"
    with pytest.raises(InputError, match=says), store.locked():
        pytest.fail("it was locked")


def test_a_file_system_without_locks_is_not_said_to_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(store_module.fcntl, "flock", refuse)
    says = "cannot hold results: No locks available"
    with pytest.raises(InputError, match=says), Store(tmp_path).locked():
        pytest.fail("it was locked")


def test_a_result_that_cannot_be_read_is_an_input_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep("a", b"content")

    def refuse(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"\.arrow: cannot be read or put aside: Input/output"):
        store.holds("a")


def test_what_is_not_there_has_no_table(store: Store) -> None:
    with pytest.raises(KeyError):
        store.table("a")
