"""Mistakes in files and on the command line: each is named, with its key and the mend."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim import distributions
from vmexit_sim.cli import main
from vmexit_sim.configuration import Configured, checked
from vmexit_sim.device import DeviceCatalog
from vmexit_sim.distributions import Distribution, Empirical
from vmexit_sim.errors import InputError, InputErrors
from vmexit_sim.explorer.guard import Guard
from vmexit_sim.explorer.guests import Guest, Slider
from vmexit_sim.guest.selection import select
from vmexit_sim.guest.table import Phase, make_table
from vmexit_sim.study.sweep import Study
from vmexit_sim.study.sweep.design import Design

GUEST = {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 1, "space": "mmio"}
SLIDER = {"label": "l", "about": "a", "unit": "share", "sets": ["guest.read_share"]}
SHOWN = {"title": "t", "policies": ["hypercall"]}
DEVICE = {"name": "*", "location": "user", "source": "s"}


class Timed(Configured):
    duration: Distribution


@pytest.mark.parametrize(
    ("model", "data", "key", "said"),
    [
        (Design, {"kind": "grid", "points": 5}, None, "which its factors decide; leave it out"),
        (Study, {"scenario": "spread", "factors": [1]}, "factors", "should be a valid dictionary"),
        (DeviceCatalog, {"default": DEVICE}, "default.emulate", 'write emulate = "0 ns"'),
        (Slider, {**SLIDER, "least": 1.0, "most": 1.0}, None, "empty range; keep least < most"),
        (Slider, {**SLIDER, "unit": "time", "least": "1 us", "most": "2 parsec"}, None, "parsec"),
        (Guest, SHOWN, None, "is neither or both; state either trace or workload"),
        (Guest, {**SHOWN, "trace": "a", "workload": "b"}, None, "is neither or both"),
        (Timed, {"duration": {"kind": "exponential", "mean": "soon"}}, "duration.mean", "soon"),
        (Empirical, [1000, 2000], None, "should be a valid dictionary"),
    ],
)  # fmt: skip
def test_a_mistake_in_data_names_its_key_and_the_mend(
    model: type[Configured], data: Any, key: str | None, said: str
) -> None:
    with pytest.raises(InputErrors) as caught:
        checked(model, data)
    assert said in str(caught.value)
    if key is not None:
        assert caught.value.errors[0].key == key


def test_a_file_of_samples_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "times.csv").write_text("t\n" + "1000\n" * 300_000)
    stated = {"duration": {"kind": "empirical", "file": "times.csv", "column": "t"}}
    context = {"file": tmp_path / "any.toml"}
    assert checked(Timed, stated, context=context).duration.mean_ps == 1000
    monkeypatch.setattr(distributions, "LARGEST_SAMPLES", 1 << 20)
    with pytest.raises(InputError, match="it is larger than 1 MiB"):
        checked(Timed, stated, context=context)


def test_phases_that_a_guest_does_not_have_are_told_with_those_it_has() -> None:
    table = make_table(2, space=2, phase=Phase.USER, devices=("nvme",))
    assert len(select(table, during=["user"])) == 2
    with pytest.raises(InputError, match=r"leaves no access.*this guest's phases: user") as caught:
        select(table, during=["job"])
    assert (caught.value.key, caught.value.value) == ("during", ["job"])


# --------------------------------------------------------------------------- on the command line


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command line that is refused complains of."""

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert printed.out == ""
        return " ".join(printed.err.split())

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trace", "import", "net-e100", "-o", "t.parquet"],
         "'net-e100' is no trace or table; did you mean 'net-e1000'?"),
        (["schema", "--keys"], "prints the keys of one kind of file; name it, and leave out"),
        (["schema", "policy", "--keys", "-o", "f"], "prints the keys of one kind of file"),
        (["explore", "--port", "65536"], "must be 0 to 65535"),
        (["explain", "ideal", "--block", "9", "--scenario", "spread"], "is no guest: there are 1"),
        (["explain", "ideal", "--block", "x", "--scenario", "bunched-and-spread"],
         "'x' is no guest of this scenario"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_says_what_would_be_right(
    refused: Any, arguments: list[str], said: str
) -> None:
    assert said in refused(*arguments)


# ----------------------------------------------------------------------- to the page's server


def answered(scope: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """What a guard lets pass, and what it answers itself."""
    passed: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is asked of the client")

    asyncio.run(Guard(app, ["localhost:80"])(scope, receive, send))  # type: ignore[arg-type]
    return passed, sent


def test_a_guard_lets_the_server_start_and_closes_what_is_no_page() -> None:
    assert answered({"type": "lifespan"}) == (["lifespan"], [])
    assert answered({"type": "websocket"}) == ([], [{"type": "websocket.close", "code": 1008}])
