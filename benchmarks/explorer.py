"""How long the explorer takes to answer a moved slider: at the server, and in a browser.

::

    python benchmarks/explorer.py [--moves 200] [--seed 1]

Runs `vmexit-sim explore` as a person would, walks through all guests, and moves one slider at a time
to a random stop. At the server: from the request until the first answer is read. In the browser
(Debian's chromium and chromium-driver, where they are): from the slider's event until the frame after
the answer. Beside wall-clock times stands the server's own processor time, which says what they would
be on a machine that does nothing else.
"""  # noqa: E501

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vmexit_sim.explorer.guests import offer
from vmexit_sim.explorer.values import written

MOVE = """
const [key, random, done] = arguments;
const slider = document.getElementById(`slide-${key}`);
if (!slider) { done(null); return; }
let place = Math.floor(random * (Number(slider.max) + 1));
if (place === slider.valueAsNumber) place = place ? place - 1 : place + 1;
const begin = performance.now();
new MutationObserver((_, observer) => {
  observer.disconnect();
  requestAnimationFrame(() => done(performance.now() - begin));
}).observe(document.getElementById("results"), { childList: true });
slider.value = place;
slider.dispatchEvent(new Event("input", { bubbles: true }));
"""
SETTLED = "return asked === null && next === null && byId('verdict').dataset.whole === 'yes'"


@contextmanager
def explorer() -> Iterator[tuple[int, int]]:
    """The command itself: its port and process."""
    command = [sys.executable, "-m", "vmexit_sim.cli", "explore", "--port", "0", "--no-open"]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        print(f"ready after {time.perf_counter() - begin:.1f} s, compiled and warm")
        yield int(re.findall(r":(\d+)/", line)[0]), process.pid
        process.send_signal(signal.SIGINT)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process's threads have used."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def walk(moves: int, seed: int) -> Iterator[tuple[str, str, float]]:
    """Guests in turn, and for each move a slider and a random number."""
    chance = random.Random(seed)
    guests = list(offer().guests)
    for move in range(moves):
        guest = guests[move * len(guests) // moves]
        keys = [key for key in offer().sliders_of(guest) if key != "reps"]
        yield guest, chance.choice(keys), chance.random()


def at_the_server(port: int, pid: int, moves: int, seed: int) -> None:
    """Ask for the first answer of each state of a walk."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    values: dict[str, str] = {}
    last, times, used, whole = "", [], [], 0
    for guest, key, share in walk(moves, seed):
        if guest != last:  # a recording is read when its guest is picked
            connection.request("GET", f"/answer?guest={guest}")
            connection.getresponse().read()
            last, values = guest, {}
        slider = offer().sliders_of(guest)[key]
        values[key] = written(slider.unit, slider.stops[int(share * len(slider.stops))])
        state = "&".join(f"{name}={value}" for name, value in values.items())
        begin, before = time.perf_counter(), cpu_seconds(pid)
        connection.request("GET", f"/answer?guest={guest}&{state}")
        response = connection.getresponse()
        answer = json.loads(response.read())
        times.append(time.perf_counter() - begin)
        used.append(cpu_seconds(pid) - before)
        assert response.status == 200, answer
        whole += answer["whole"]
    told("at the server", times)
    told("  its processor time", used)
    print(f"  whole at once: {whole / moves:.0%}")


def in_a_browser(port: int, moves: int, seed: int) -> None:
    """Move the sliders of the page."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking",
                     "disable-component-update", "disable-sync", "no-first-run",
                     f"user-data-dir={profile}"):  # fmt: skip
            options.add_argument(f"--{flag}")
        driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            driver.set_script_timeout(60)
            last, times = "", []
            for guest, key, share in walk(moves, seed):
                if guest != last:
                    driver.get(f"http://127.0.0.1:{port}/?guest={guest}")
                    last = guest
                while not driver.execute_script(SETTLED):
                    time.sleep(0.01)
                taken = driver.execute_async_script(MOVE, key, share)
                if taken is not None:  # a slider that would move nothing is not shown
                    times.append(taken / 1000)
        finally:
            driver.quit()
    told("in the browser", times)


def told(where: str, times: list[float]) -> None:
    """Print quantiles."""
    p50, p95 = np.quantile(times, [0.5, 0.95], method="higher") * 1000
    print(f"{where}: {len(times)} moves; p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
          f"longest {max(times) * 1000:.0f} ms")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with explorer() as (port, pid):
        at_the_server(port, pid, given.moves, given.seed)
        if shutil.which("chromium") and shutil.which("chromedriver"):
            in_a_browser(port, given.moves, given.seed)
        else:
            print("in the browser: not measured, there is no chromium and chromedriver")


if __name__ == "__main__":
    main()
