"""The server: what it answers, and whom."""

import re
import signal
import socket
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote_plus

import pytest

from vmexit_sim.cli import main
from vmexit_sim.errors import InputError
from vmexit_sim.explorer.guests import offer
from vmexit_sim.explorer.scenario import scenario_of
from vmexit_sim.explorer.server import KEPT, listening
from vmexit_sim.explorer.state import LONGEST_QUERY, query_of, read_state

QUICK = "guest=download-e1000&policy=linux-default&policy=hypercall"


class Elements(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_shows_verdict_tables_and_charts(served: Any) -> None:
    page = served.get(f"/?{QUICK}")
    assert page.status == 200
    assert "hypercall adds least" in page.text
    assert "How long one access stalls its vCPU" in page.text
    assert "exact: nothing is left to chance" in page.text


@pytest.mark.parametrize("guest", list(offer().guests))
def test_every_guest_is_answered_in_regions_of_the_page(served: Any, guest: str) -> None:
    answer = served.get(f"/answer?controls=1&guest={guest}")
    assert answer.status == 200
    assert set(answer.json["html"]) == {"verdict", "results", "controls"}
    assert answer.json["query"] == query_of(read_state(f"guest={guest}"))


def test_a_whole_answer_has_all_replications(served: Any) -> None:
    answer = served.get("/whole?guest=spread&policy=linux-default&policy=hypercall&reps=50").json
    assert answer["whole"]
    assert "50 replications of 2,000 accesses" in answer["html"]["verdict"]


def test_the_exported_scenario_is_downloaded_as_toml(served: Any) -> None:
    answer = served.get(f"/scenario.toml?{QUICK}&switch=2")
    assert "attachment" in answer.headers["content-disposition"]
    assert tomllib.loads(answer.text) == scenario_of(read_state(f"{QUICK}&switch=2"))


@pytest.mark.parametrize("path", ["/", "/answer", "/whole", "/scenario.toml"])
def test_a_mistake_is_told_in_words_and_not_as_a_traceback(served: Any, path: str) -> None:
    answer = served.get(f"{path}?guest=spraed")
    assert answer.status == 400
    assert "did you mean" in answer.text
    assert "Traceback" not in answer.text
    trapped = served.get(f"/?{QUICK}&platform=bare-metal-2022")
    assert trapped.status == 400
    assert "there is nobody to trap to" in trapped.text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
@pytest.mark.parametrize("key", ["guest", "policy", "seed", "row", "<b>"])
def test_what_an_address_holds_is_text_on_the_page(served: Any, key: str, text: str) -> None:
    page = served.get(f"/?{quote_plus(key)}={quote_plus(text)}")
    assert page.status == 400
    elements = Elements(page.text).found
    assert [attributes["src"] for tag, attributes in elements if tag == "script"] == [
        "/explorer.js"
    ]
    assert not [tag for tag, _ in elements if tag == "img"]
    assert [tag for tag, _ in elements if tag == "b"] == ["b"]  # the page's own
    for _, attributes in elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_the_page_runs_and_loads_nothing_but_the_servers_own(served: Any) -> None:
    policy = served.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    loaded = {attributes.get("src") or attributes["href"]
              for tag, attributes in Elements(served.get("/").text).found
              if tag in ("script", "link")}  # fmt: skip
    assert loaded == {"/explorer.js", "/explorer.css", "/icon.svg"}
    for path in loaded:
        answer = served.get(path)
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "localhost.:{port}",
             "0.0.0.0:{port}", "127.0.0.1:{port}.evil.example", ""],
)  # fmt: skip
def test_another_host_is_not_answered(served: Any, host: str) -> None:
    answer = served.get("/", Host=host.format(port=served.port))
    assert answer.status in (400, 421)
    assert "verdict" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}"])
def test_its_own_names_are_answered(served: Any, host: str) -> None:
    assert served.get("/icon.svg", Host=host.format(port=served.port)).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"]
)
def test_another_origin_is_not_answered(served: Any, origin: str) -> None:
    assert served.get("/answer", Origin=origin.format(port=served.port)).status == 403


def test_its_own_origin_is_answered_and_a_foreign_page_may_only_link(served: Any) -> None:
    own = f"http://localhost:{served.port}"
    assert served.get("/icon.svg", Origin=own).status == 200
    for site in ("cross-site", "same-site"):  # another port of this machine is the same site
        foreign = {"Sec_Fetch_Site": site}
        visit = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
        frame = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
        assert served.get("/icon.svg", **foreign).status == 403
        assert served.get("/icon.svg", **foreign, Sec_Fetch_Mode="no-cors").status == 403
        assert served.get("/icon.svg", **foreign, **frame).status == 403
        assert served.get("/icon.svg", **foreign, **visit).status == 200
    assert served.get("/icon.svg", Sec_Fetch_Site="same-origin").status == 200


def test_a_request_only_reads_and_is_small(served: Any) -> None:
    assert served.get("/answer", method="POST").status == 405
    assert served.get("/answer", body="x" * 100).status == 413
    assert served.get("/answer?guest=" + "x" * (LONGEST_QUERY + 100)).status == 414
    assert served.get("/answer?guest=" + "x" * 100_000).status in (400, 414)


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/static/explorer.js", "/%2e%2e/server.py", "/guests.toml"]
)
def test_no_path_leads_to_a_file(served: Any, path: str) -> None:
    assert served.get(path).status == 404


def test_only_the_last_states_are_kept(served: Any) -> None:
    for seed in range(KEPT + 5):
        served.get(f"/answer?{QUICK}&seed={seed}")
    assert len(served.explorer._kept) == KEPT


def test_only_loopback_is_listened_on() -> None:
    with pytest.raises(InputError, match="is not on loopback"):
        listening("0.0.0.0", 0)


def test_no_answer_waits_for_the_receipt_of_its_head() -> None:
    """Nagle's algorithm and delayed receipts together cost 40 ms an answer (RFC 1122, 4.2.3.4)."""
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_another_host_is_no_choice_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explore", "--host", "0.0.0.0"])
    assert ended.value.code == 2


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["explore", "--port", str(port)])
    assert ended.value.code == 2
    assert "or 0 for any that is free" in capsys.readouterr().err


def test_without_the_extra_the_command_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit) as ended:
        main(["explore"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "vmexit-sim[explore]" in said
    assert "Traceback" not in said


def test_ctrl_c_ends_the_command_with_one_line() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "vmexit_sim.cli", "explore", "--port", "0", "--no-open"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == "exploring ended\n"
    assert "Traceback" not in err
