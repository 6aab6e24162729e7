"""What happens in small scenarios is what was written down, event by event."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

import pytest
from meaning.cases import CASES, RENEW, listed, recorded

from vmexit_sim.cli import main


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_what_happens_is_what_was_written_down(case: Path) -> None:
    before, now = recorded(case).splitlines(), listed(case).splitlines()
    changes = list(unified_diff(before, now, f"{case.stem}.txt", "now", n=2, lineterm=""))
    if changes:
        told = "\n".join(changes)
        pytest.fail(f"{told}\n\nIf that is intended: {RENEW}", pytrace=False)


def test_the_command_prints_what_is_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in CASES if case.stem == "mmio-trap")
    with pytest.raises(SystemExit) as ended:
        main(["timeline", str(case), "--text"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == recorded(case)


def test_nothing_is_written_down_of_no_case() -> None:
    texts = {path.stem for path in Path(__file__).parent.glob("*.txt")}
    assert texts == {case.stem for case in CASES}
