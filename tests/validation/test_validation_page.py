"""The page of known answers says what the simulator says, and the command's exit status does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vmexit_sim.cli import main
from vmexit_sim.errors import InputError
from vmexit_sim.present import validation_tables as tables
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.validation import UNCOVERED, Claim, claims
from vmexit_sim.validation.claim import MOST_SAMPLED, Expected

PAGE = Path(__file__).parents[2] / "docs/validation.md"
RENEW = "renew it: vmexit-sim validation --page docs/validation.md"


def plain(line: str) -> str:
    """A row without its sampled digits: the number after "expected", and how far off it is."""
    cells = line.split(" | ")
    return " | ".join([*cells[:4], cells[-1]])


def numbers(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in re.findall(r"\d[\d,]*\.?\d*", text)]


def test_rows_hold_have_their_reasons_and_are_those_of_the_page() -> None:
    """One test, for simulating the rows takes seconds."""
    found = list(claims(quick=True))
    assert tables.failures(found) == []
    names = [(claim.kind, claim.group, claim.claim) for claim in found]
    assert len(set(names)) == len(names)
    assert [name for name, claim in zip(names, found, strict=True) if len(claim.source) < 9] == []
    must_explain = [claim for claim in found if not claim.agrees or claim.role == "fit"]
    assert [claim.claim for claim in must_explain if not claim.why] == []
    # The confidence of a row is for so many.
    assert sum(claim.is_sampled for claim in found) <= MOST_SAMPLED
    page = PAGE.read_text(encoding="utf-8")
    is_shown(page, found)
    # What the page says --quick is worth.
    stated = re.search(
        r"half an\s+interval is (\d+) % in the median and (\d+) % at the widest", page
    )
    assert stated is not None
    assert [float(each) / 100 for each in stated.groups()] == pytest.approx(
        tables.widths(found), rel=0.2
    )
    # None is a sum in which an effect that the model lacks would be lost.
    absent = [claim for claim in found if "no such effect" in claim.why]
    assert len(absent) == 5
    assert not any(claim.agrees or claim.must_hold for claim in absent)


def is_shown(page: str, found: list[Claim]) -> None:
    """The page holds every row and nothing else; the digits of sampled ones may be others."""
    shown = stable(page.partition(tables.BEGIN)[2].partition(tables.END)[0])
    made = stable(tables.validation_page(found))[:-1]
    sampled = {tables.page_row(claim): claim for claim in found if claim.is_sampled}
    assert len(shown) == len(made), RENEW
    for line, now in zip(shown, made, strict=True):
        if now in sampled:
            assert plain(line) == plain(now), RENEW
            is_narrow_and_fits(line.split(" | ")[4], sampled[now])
        else:
            assert line == now, RENEW


def stable(text: str) -> list[str]:
    """Without how wide the intervals are, of which a shorter run has others."""
    return [line for line in text.splitlines()[1:] if not line.startswith("* Half an interval")]


def is_narrow_and_fits(shown: str, quick: Claim) -> None:
    """The page's interval is no wider than the page says, and meets that of a shorter run."""
    value, half = numbers(shown)[:2]
    assert half <= 0.15 * value, shown
    scale = {"µs": 1e6, "ns": 1e3}.get(shown.split()[-1], 1.0)
    low, high = (value - half) * scale, (value + half) * scale
    assert quick.simulated.low <= high, RENEW
    assert quick.simulated.high >= low, RENEW


def test_what_is_not_covered_says_why() -> None:
    assert len({each.what for each in UNCOVERED}) == len(UNCOVERED)
    assert all(each.source and each.why for each in UNCOVERED)


def claim(role: str, simulated: float) -> Claim:
    return Claim(
        kind="published", group="g", claim="c", source="somebody's paper", role=role,  # type: ignore[arg-type]
        expected=Expected.count("2"), simulated=exact(simulated, unit="exits"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("role", "simulated", "status"),
    [("accounting", 2, 0), ("accounting", 3, 1), ("prediction", 3, 0)],
)
def test_the_command_ends_with_status_1_if_what_must_hold_does_not(
    role: str, simulated: float, status: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("vmexit_sim.validation.claims", lambda *_, **__: [claim(role, simulated)])
    with pytest.raises(SystemExit) as ended:
        main(["validation"])
    assert ended.value.code == status
    captured = capsys.readouterr()
    assert ("simulated 3 exits" in captured.err) == (status == 1)
    assert ("What disagrees" in captured.out) == (simulated == 3)


def test_one_kind_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validation", "--kind", "paths", "--json"])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in document["claims"]} == {"paths"}
    assert document["agree"] == document["rows"] == len(document["claims"])
    first = document["claims"][0]
    assert first["expected"]["low"] == first["simulated"]["value"] == 433_153
    assert len(document["not_covered"]) == len(UNCOVERED)


def test_a_page_without_its_marks_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit) as ended:
        main(["validation", "--page", str(page)])
    assert ended.value.code == 2
    assert "put two lines where they belong" in capsys.readouterr().err
    assert page.read_text() == "nothing"


@pytest.mark.parametrize("more", [["--quick"], ["--kind", "paths"]])
def test_a_page_takes_all_rows_at_full_length(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validation", "--page", str(PAGE), *more])
    assert ended.value.code == 2
    assert "leave out --quick and --kind" in capsys.readouterr().err


def test_a_page_is_renewed_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nstale\n{tables.END}\nafter\n")
    text = tables.renewed(page, [claim("accounting", 2)])
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| c | somebody's paper | 2 exits | - | 2 exits | - | agrees (accounting) |" in text
    assert "stale" not in text
    with pytest.raises(InputError, match="no page that can be read"):
        tables.renewed(tmp_path / "missing.md", [])


def test_tables_show_how_far_off_a_row_may_be() -> None:
    row = tables.page_row(replace(claim("prediction", 2.1), tolerance=0.1))
    assert (
        row
        == "| c | somebody's paper | 2 exits | 10 % | 2.10 exits | +5.0 % | agrees (prediction) |"
    )
    assert "| 2 exits | 1e-09 |" in tables.page_row(replace(claim("theory", 2), tolerance=1e-9))


def test_the_summary_says_how_wide_the_intervals_are() -> None:
    sampled = [
        replace(claim("theory", 2), simulated=Estimate(value, value - 1, value + 1, 9, "t"))
        for value in (2.0, 4.0, -10.0, 0.0)
    ]
    assert tables.widths(sampled) == (0.25, 0.5)
    said = "Half an interval is 25 % of its value in the median and 50 % at the widest"
    assert any(line.startswith(said) for line in tables.summary(sampled))
    assert tables.widths([claim("accounting", 2)]) is None
