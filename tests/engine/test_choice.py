"""Which engine runs, and what happens where it cannot be had as wished."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from numba.core.config import DISABLE_JIT

from vmexit_sim import engine
from vmexit_sim.engine import compiled_engine, jit
from vmexit_sim.engine import kernel as k
from vmexit_sim.errors import InputError


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it now raises ImportError
    engine._chosen.cache_clear()
    yield
    engine._chosen.cache_clear()


def test_auto_is_the_compiled_engine() -> None:
    assert engine.chosen("auto") == engine.chosen("compiled") == "compiled"
    assert engine.chosen("simpy") == "simpy"


def test_without_numba_auto_says_so_once_and_runs_on_simpy(
    without_numba: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "vmexit_sim"):
        assert engine.chosen("auto") == engine.chosen("auto") == "simpy"
    (record,) = caplog.records
    assert "running on the slower SimPy engine" in record.getMessage()


def test_without_numba_the_compiled_engine_is_refused(without_numba: None) -> None:
    with pytest.raises(InputError, match="Numba cannot be imported") as refused:
        engine.chosen("compiled")
    assert "take the engine simpy" in str(refused.value)


def test_the_simpy_engine_needs_no_numba() -> None:
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "from vmexit_sim.cli import main\n"
        "main(['compare', 'pci-scan-q35', '--only', 'bar_sizing', '--policy', 'hypercall'])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0
    assert "hypercall" in ended.stdout
    assert ended.stderr.count("slower SimPy engine") == 1


def test_where_no_cache_can_be_written_the_code_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = jit.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(jit, "njit", nowhere)
    assert jit.compiled(lambda x: x + 1)(41) == 42


@pytest.mark.skipif(bool(DISABLE_JIT), reason="about Numba's own objects")
def test_a_cache_that_cannot_be_written_after_all_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def full_disk() -> None:
        calls.append(k.advance)
        if len(calls) == 1:
            raise OSError("no space left on device")

    real = k.advance
    monkeypatch.setattr(k, "advance", real)
    monkeypatch.setattr(
        compiled_engine.reduction, "reduce_block", compiled_engine.reduction.reduce_block
    )
    monkeypatch.setattr(compiled_engine, "_call_with_nothing", full_disk)
    compiled_engine._prepare.__wrapped__()
    assert calls[0] is real
    assert calls[1] is not real
    assert calls[1].py_func is real.py_func


def test_a_long_compilation_says_what_it_is_doing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    said = threading.Event()
    monkeypatch.setattr(compiled_engine, "PATIENCE", 0.0)
    monkeypatch.setattr(compiled_engine.log, "warning", lambda *_: said.set())
    monkeypatch.setattr(compiled_engine, "_call_with_nothing", lambda: said.wait(10))
    compiled_engine._prepare.__wrapped__()
    assert said.is_set()
