"""How many small faults in the code the tests find: mutation testing of a random sample of them.

    pip install -c constraints.txt -e '.[dev,bench]'
    nice python benchmarks/mutation.py vmexit_sim/statistics --tests tests/statistics --sample 150
    nice python benchmarks/mutation.py vmexit_sim/engine/kernel.py --tests tests/engine --uncompiled

First the tests run once on the right code, under coverage, which says which test runs which line
and how long it takes. Then each mutant (see `mutants`) meets the tests that run its lines, the
quickest first, until one fails or `--budget` seconds of tests have passed. It counts as found if a
test fails, cannot be collected, or takes much more processor time than on the right code. A mutant
on a line that no test runs counts as not found; one that is run on import meets all tests of the
files that run anything of the module.

Every mutant has a process of its own, forked from one that has imported what is imported everywhere
but not the package; the mutant's source takes the place of the module's when that is imported. No
file is changed. Tests that start processes of their own see the right code there, so they find
nothing. Hypothesis takes the same examples each time.

`--uncompiled` runs Numba's kernels as Python, without which a mutant of theirs would not be seen
(Numba keeps compiled code beside the source, which has not changed) or compile for ten seconds.

The score is a share of the sample; its interval is Wilson's (J. Am. Stat. Assoc. 22, 1927), 95 %.
What a sample's mutants met is kept in `--out`, so that `--again` runs those that were not found,
and only those, against tests that have become better.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMPORTED_BEFORE = [
    "hypothesis", "matplotlib", "numba", "numba.extending", "numpy", "pandas", "pyarrow.parquet",
    "pydantic", "pytest", "scipy.optimize", "scipy.stats", "simpy", "rich",
]  # fmt: skip
PATIENCE, SLOWER, BUSY = 5.0, 4.0, 20
"""With a mutant, a test may take so many seconds of processor time and so many times what it took
without; and all of them BUSY times as long by the clock, for the machine may have more to do."""
MEMORY = 6 << 30
FOUND, TIMED_OUT, NOT_FOUND, NOT_RUN = "found", "timed out", "not found", "run by no test"
OPTIONS = [
    "-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # plugins are imported before pytest starts
]  # fmt: skip


class Mapping:
    """A pytest plugin that notes which test runs which line, and its processor time."""

    def __init__(self, paths: list[Path]) -> None:
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None, include=[str(path) for path in paths], config_file=False
        )
        self.seconds: dict[str, float] = {}

    def pytest_sessionstart(self) -> None:
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)
        self.seconds[nodeid] = -time.process_time()  # not by the clock: others may be at work too

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] += time.process_time()

    def lines(self) -> dict[str, dict[int, list[str]]]:
        """Tests by file and line."""
        self.coverage.stop()
        data = self.coverage.get_data()
        return {
            str(Path(file).relative_to(ROOT)): {
                line: [test for test in tests if test]
                for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }


class Chosen:
    """A pytest plugin that keeps the chosen tests, the quickest first, and limits their time."""

    def __init__(self, tests: list[str], seconds: dict[str, float]) -> None:
        self.order, self.seconds = {test: place for place, test in enumerate(tests)}, seconds

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, PATIENCE + SLOWER * self.seconds[nodeid])  # ends it

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order),
            key=lambda item: self.order[item.nodeid],
        )


class Changed(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module from a changed source, under its own name and file."""

    def __init__(self, path: Path, source: str) -> None:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        super().__init__(name, str(path))
        self.source = source

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_code(self, _: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


def in_a_child(work: Any, seconds: float | None = None) -> int:
    """Do some work in a forked process, and return what it returns; −n if signal n ended it.

    With a limit, in seconds by the clock, it is also silent, and has no more than `MEMORY`.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setpgid(0, 0)
            silence = os.open(os.devnull, os.O_RDWR)
            if seconds is not None:
                for stream in (0, 1, 2):
                    os.dup2(silence, stream)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            status = int(work())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    deadline = time.monotonic() + (math.inf if seconds is None else seconds)
    ended = 0
    try:
        while not ended and time.monotonic() < deadline:
            time.sleep(0.02)
            ended, status = os.waitpid(child, os.WNOHANG)
    finally:  # what the tests have left behind, what sleeps for ever, all if this is interrupted
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if not ended:
            _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def map_tests(tests: list[str], paths: list[Path], file: Path) -> dict[str, Any]:
    """Run the tests on the right code, once: which test runs which line, and for how long."""

    def work() -> int:
        import pytest

        mapping = Mapping(paths)
        status = pytest.main([*OPTIONS, *tests], plugins=[mapping])
        file.write_text(json.dumps({"seconds": mapping.seconds, "lines": mapping.lines()}))
        return int(status)

    if in_a_child(work):
        raise SystemExit("the tests fail on the right code")
    return dict(json.loads(file.read_text()))


def meet(mutant: dict[str, Any], known: dict[str, Any], budget: float) -> tuple[str, int]:
    """What became of a mutant, and how many tests it was given."""
    import pytest

    seconds, lines = known["seconds"], known["lines"].get(mutant["path"], {})
    around = [lines.get(str(n), []) for n in range(mutant["first"], mutant["last"] + 1)]
    tests = {test for line in around for test in line}
    if mutant["on_import"]:  # a default or a bound: all tests beside those that run any of it
        files = {test.split("::")[0] for line in lines.values() for test in line}
        tests = {test for test in seconds if not files or test.split("::")[0] in files}
    if not tests:
        return NOT_RUN, 0
    order, spent = sorted(tests, key=lambda test: (seconds[test], test)), 0.0
    for place, test in enumerate(order):
        spent += seconds[test]
        if spent > budget and place:
            del order[place:]
            break

    def work() -> int:
        sys.meta_path.insert(0, Changed(ROOT / mutant["path"], mutant["source"]))
        files = {test.split("::")[0] for test in order}
        return int(pytest.main([*OPTIONS, *sorted(files)], plugins=[Chosen(order, seconds)]))

    status = in_a_child(work, BUSY * (PATIENCE + sum(seconds[test] for test in order)))
    if status < 0:
        return TIMED_OUT, len(order)
    return (NOT_FOUND if status in (0, 5) else FOUND), len(order)


def report(results: list[dict[str, Any]], of: int) -> None:
    """Print the score by file, what was not found, and the score with its interval."""
    from scipy.stats import binomtest

    files = sorted({result["path"] for result in results})
    for result in results:
        if result["became"] in (NOT_FOUND, NOT_RUN):
            where = f"{result['path']}:{result['first']} {result['within']}"
            print(f"\n{where} ({result['became']}; {result['tests']} tests)\n{result['diff']}")
    print(f"\n{'module':<48} mutants  found")
    for path in files:
        became = [result["became"] for result in results if result["path"] == path]
        print(f"{path:<48} {len(became):7}  {sum(b in (FOUND, TIMED_OUT) for b in became):5}")
    tally = Counter(result["became"] for result in results)
    found, n = tally[FOUND] + tally[TIMED_OUT], len(results)
    ends = binomtest(found, n).proportion_ci(0.95, method="wilson")
    print(
        f"\n{found} of {n} mutants found, of {of:,} possible ones: {found / n:.1%} "
        f"({ends.low:.1%} to {ends.high:.1%}, 95 %, Wilson); "
        + ", ".join(f"{what}: {count}" for what, count in sorted(tally.items()))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("code", nargs="+", type=Path, help="files and folders to be mutated")
    parser.add_argument("--tests", nargs="+", required=True, help="test files and folders")
    parser.add_argument("--sample", type=int, default=150, help="mutants; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uncompiled", action="store_true", help="Numba's kernels as Python")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests for a mutant")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutation.json")
    parser.add_argument("--again", action="store_true", help="only what --out has as not found")
    parser.add_argument("--mapped", action="store_true", help="take the last run's map of tests")
    given = parser.parse_args()
    os.environ.update(CI="true", OPENBLAS_NUM_THREADS="1", NUMBA_DISABLE_JIT=str(+given.uncompiled))
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for name in IMPORTED_BEFORE:
        importlib.import_module(name)

    from mutants import mutants_of

    paths = sorted(
        file.resolve()
        for place in given.code
        for file in ([place] if place.is_file() else place.rglob("*.py"))
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    if given.again:
        kept = json.loads(given.out.read_text())
        of, results = kept["of"], kept["results"]
    else:
        of, drawn = mutants_of(paths, ROOT, given.sample or sys.maxsize, given.seed)
        results = [asdict(mutant) | {"became": "", "tests": 0} for mutant in drawn]
    began, file = time.monotonic(), given.out.with_suffix(".map.json")
    known = (
        dict(json.loads(file.read_text())) if given.mapped else map_tests(given.tests, paths, file)
    )
    print(f"{len(known['seconds'])} tests in {time.monotonic() - began:.0f} s", flush=True)
    left = [result for result in results if result["became"] not in (FOUND, TIMED_OUT)]
    for place, result in enumerate(left, 1):
        began = time.monotonic()
        result["became"], result["tests"] = meet(result, known, given.budget)
        print(
            f"{place}/{len(left)} {result['path']}:{result['first']} {result['became']}, "
            f"{time.monotonic() - began:.1f} s", flush=True,
        )  # fmt: skip
        given.out.write_text(json.dumps({"of": of, "results": results}))
    report(results, of)


if __name__ == "__main__":
    main()
