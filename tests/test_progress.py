"""A long call in a notebook shows what it is at, and leaves nothing behind."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import vmexit_sim as vs
from vmexit_sim.api import progress as told


class Display:
    """IPython's `display`, recorded."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def __call__(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Display:
        assert raw
        assert display_id
        self.shown.append(data)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    """As in a notebook's kernel, with no patience."""
    display = Display()
    ipython, shows = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    shows.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "IPython", ipython)
    monkeypatch.setitem(__import__("sys").modules, "IPython.display", shows)
    monkeypatch.setattr(told, "PATIENCE", 0.0)
    monkeypatch.setattr(told, "INTERVAL", 0.0)
    return display


FEW: dict[str, Any] = {"set": {"blocks.0.guest.operations": 50}, "reps": 2}


def test_a_comparison_tells_each_policy_and_takes_it_away(display: Display) -> None:
    vs.compare("spread", policies=["linux-default", "hypercall"], **FEW)
    texts = [each.get("text/html", "") for each in display.shown]
    assert any("linux-default" in text for text in texts)
    assert any("hypercall" in text for text in texts)
    assert display.shown[-1] == {}


def test_what_is_told_cannot_become_markup(display: Display) -> None:
    with told.progress() as tell:
        tell.doing("<script>")
    assert "<script>" not in display.shown[0]["text/html"]


def test_parts_show_as_a_bar(display: Display) -> None:
    with told.progress() as tell:
        tell.through(3, 1000)
    assert '<progress value="3" max="1000">' in display.shown[0]["text/html"]
    assert "3 of 1,000" in display.shown[0]["text/html"]


def test_a_call_that_is_over_soon_shows_nothing(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "PATIENCE", 3600.0)
    with told.progress() as tell:
        tell.doing("something")
    assert display.shown == []


def test_it_goes_away_when_the_call_fails(display: Display) -> None:
    def fails() -> None:
        with told.progress() as tell:
            tell.doing("something")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert display.shown[-1] == {}


def test_outside_a_notebook_nothing_shows(capfd: pytest.CaptureFixture[str]) -> None:
    vs.compare("spread", policies=["linux-default"], **FEW)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
