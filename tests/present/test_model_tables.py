"""What is shown of one model: whole, by its name or its path, each kind in its own way."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from vmexit_sim import catalog
from vmexit_sim.errors import InputError
from vmexit_sim.present.model_tables import model_document, model_report


def shown(name: str) -> str:
    console = Console(width=300, file=io.StringIO())
    console.print(model_report(name))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("halt-poll-never", ["idle: the guest halts"]),
        ("idle-poll", ["idle: the guest polls"]),
        ("halt-poll-always", ["idle: the guest halts", "the host polls for 200 µs before it"]),
        ("halt-poll-dynamic", ["idle: the guest halts", "the host polls before it, up to 200 µs: "
                               "grows × 2 from 10 µs, shrinks to 0"]),
        ("guest-halt-poll", ["idle: the guest halts", "the guest polls before it, up to 200 µs: "
                             "grows × 2 from 50 µs, shrinks divided by 2"]),
    ],
)  # fmt: skip
def test_a_policy_says_how_its_guest_waits(policy: str, said: list[str]) -> None:
    lines = [line.rstrip() for line in shown(policy).splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("idle: "))
    assert lines[begin : lines.index("", begin)] == said


def test_a_policy_whose_waiting_is_free_says_nothing_of_it() -> None:
    assert "idle:" not in shown("linux-default")


def test_a_recorded_guest_is_named_and_where_to_look_further() -> None:
    assert shown("net-e1000").strip() == (
        "net-e1000: a recorded guest; vmexit-sim trace info net-e1000 tells more"
    )
    assert model_document("net-e1000") == {
        "trace": {"name": "net-e1000", "file": "net-e1000.trace.xz"}
    }


@pytest.mark.parametrize(
    ("name", "key"),
    [("bunched-and-spread", "scenario"), ("request-response", "workload"), ("spacing", "study"),
     ("qemu", "device")],
)  # fmt: skip
def test_other_models_are_their_files_under_the_name_of_one_of_the_kind(
    name: str, key: str
) -> None:
    kind = {"study": "studies"}.get(key, f"{key}s")
    text = catalog.names(kind)[name].read_text(encoding="utf-8")
    document = model_document(name)
    assert list(document) == [key]
    assert document[key].get("title", "") in text
    assert shown(name).split() == text.split()


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [("platforms", "kvm-2013", "platform"), ("policies", "hypercall", "policy"),
     ("scenarios", "bunched-and-spread", "scenario"), ("studies", "spacing", "study"),
     ("workloads", "spread", "workload")],
)  # fmt: skip
def test_a_file_is_shown_as_what_its_keys_say_it_is(kind: str, name: str, key: str) -> None:
    path = catalog.names(kind)[name]
    by_path, by_name = (model_document(each) for each in (str(path), name))
    assert list(by_path) == [key]
    assert by_path == {key: by_name[key]}


def test_no_model_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no model.*did you mean 'kvm-2013'") as caught:
        model_report("kvm-203")
    assert caught.value.value == "kvm-203"
    notes = tmp_path / "notes.txt"
    notes.write_text("no model either")
    with pytest.raises(InputError, match="is no model"):
        model_document(str(notes))
