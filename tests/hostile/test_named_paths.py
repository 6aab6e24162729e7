"""A file names only what lies in its own folder; a user names anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmexit_sim.catalog import models_directory
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import cached_trace, open_scenario
from vmexit_sim.policy import load_policy
from vmexit_sim.scenario import find_scenario
from vmexit_sim.study.stated import stated

GUEST = '{ kind = "spread", operations = 2, between = "1 us", read_share = 0, space = "mmio" }'
RULE = 'title = "rules"\n[[rules]]\nside = "host"\nmechanism = "hypercall"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a stranger's, beside it what is none of his, and a link to that."""
    made = tmp_path / "his"
    (made / "inner").mkdir(parents=True)
    platform = (models_directory() / "platforms/ideal.toml").read_text()
    for name, content in (
        ("mine.toml", platform), ("policy.toml", RULE), ("secret", "root:x:0:0\n"),
        ("devices.toml", (models_directory() / "devices/qemu.toml").read_text()),
        ("guest.toml", GUEST.strip("{} ").replace(", ", "\n")),
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
        (made / "inner" / name).write_text(content)
        (made / f"link-{name}").symlink_to(tmp_path / name)
    (made / "elsewhere").symlink_to(tmp_path)
    (made / "circle.toml").symlink_to(made / "circle.toml")
    return made


def opened(folder: Path, text: str) -> object:
    path = folder / "scenario.toml"
    if "[[blocks]]" not in text:
        text += f"\n[[blocks]]\nguest = {GUEST}\n"
    path.write_text(text)
    return open_scenario(*find_scenario(str(path)))


@pytest.mark.parametrize(
    "place", ["../{}", "inner/../../{}", "elsewhere/{}", "link-{}", "{out}/{}"]
)
@pytest.mark.parametrize(
    ("text", "file"),
    [
        ('platform = "{}"', "mine.toml"), ('policies = ["{}"]', "policy.toml"),
        ('devices = "{}"', "devices.toml"),
        ('[[blocks]]\nguest = {{ workload = "{}" }}', "guest.toml"),
        ('[[blocks]]\nguest = {{ trace = "{}" }}', "secret"),
        ('[[blocks]]\nguest = {{ table = "{}" }}', "secret"),
    ],
)  # fmt: skip
def test_a_scenario_opens_nothing_outside_its_folder(
    folder: Path, text: str, file: str, place: str
) -> None:
    name = place.format(file, out=folder.parent)
    with pytest.raises(
        InputError, match=r"scenario\.toml: .*leaves the folder of the file"
    ) as said:
        opened(folder, text.format(name))
    assert "root:x" not in str(said.value)


@pytest.mark.parametrize(
    ("load", "file"), [(load_platform, "mine.toml"), (load_policy, "policy.toml")]
)
def test_a_model_extends_nothing_outside_its_folder(folder: Path, load: object, file: str) -> None:
    path = folder / "own.toml"
    for name in (f"../{file}", f"./link-{file}", str(folder.parent / file)):
        path.write_text(f'extends = "{name}"\n')
        with pytest.raises(InputError, match=r"own\.toml: extends: .*leaves the folder"):
            load(str(path))  # type: ignore[operator]
    path.write_text(f'extends = "./inner/{file}"\ntitle = "own"\n')
    load(str(path))  # type: ignore[operator]


def test_what_lies_below_the_folder_is_found(folder: Path) -> None:
    inner = str(folder / "inner" / "mine.toml")
    for name in ("inner/mine.toml", "./inner/../inner/mine.toml", inner):
        made = opened(folder, f'platform = "{name}"\npolicies = ["inner/policy.toml"]')
        assert made.platform.name == "mine"  # type: ignore[attr-defined]


def test_a_user_names_any_file(folder: Path) -> None:
    opened(folder, "")
    changes = {"platform": str(folder / "link-mine.toml"),
               "set": {"blocks.0.guest": {"workload": str(folder.parent / "guest.toml")},
                       "devices": str(folder.parent / "devices.toml")}}  # fmt: skip
    path = str(folder / "scenario.toml")
    made = stated(path, [f"{folder}/../policy.toml"], changes=changes).opened()  # type: ignore[arg-type]
    assert made.policies[0].name == "policy"
    for key, value in (("trace", "../secret"), ("trace", "elsewhere/secret")):
        (folder / "scenario.toml").write_text(
            f'[[blocks]]\nguest = {{ {key} = "{value}" }}\nthink_scales = [1.0]\n'
        )  # to set another key lets the file name nothing more
        with pytest.raises(InputError, match="leaves the folder"):
            stated(path, changes={"set": {"blocks.0.think_scales": [0.5]}}).opened()


@pytest.mark.parametrize(
    "name", ["./circle.toml", "./a\0b", "./" + "a" * 5000, "./inner", "./gone.toml"]
)
def test_what_is_no_file_is_not_there(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"scenario\.toml: platform: .*no such file"):
        opened(folder, f"platform = {name!r}".replace("\\x00", "\\u0000").replace("'", '"'))


def test_a_trace_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "guest.log"
    line = "7@1.{:06}:memory_region_ops_read cpu 0 mr 0x5 addr 0x70 value 0x0 size 1 name 'rtc'\n"
    path.write_text(line.format(1))
    assert len(cached_trace(path, load_devices()).table) == 1
    path.write_text(line.format(1) + line.format(2))
    assert len(cached_trace(path, load_devices()).table) == 2
