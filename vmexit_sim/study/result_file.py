"""Result files: a comparison on disk, to be told or reported later without running it again.

A file is one JSON document::

    {"format": "vmexit-sim result", "version": 1, "checksum": "sha256:…", "content": {…}}

`content` is a `Saved` (`vmexit_sim.study.result_format`). The checksum is of the content written
without spaces, in the order in which it stands, so a file may be laid out anew, and any change of
what it says is told. It guards against damage, not malice: whatever a file says is checked as well.
Nothing in it is ever evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from vmexit_sim.catalog import refuse_other_than_result
from vmexit_sim.configuration import AS_STATED, checked_json
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.output import write_content
from vmexit_sim.policy import Policy
from vmexit_sim.scenario import Scenario
from vmexit_sim.steps import Stage
from vmexit_sim.study.input_uncertainty import InputUncertainty, Uncertain, UncertainBlock
from vmexit_sim.study.outcome import BlockOutcome, Comparison, PolicyOutcome
from vmexit_sim.study.result_format import (
    Saved,
    SavedCut,
    SavedEstimate,
    SavedGuest,
    SavedOutcome,
    SavedStage,
    SavedUncertain,
    SavedUncertainty,
    finite,
)
from vmexit_sim.study.steady_state import Cut
from vmexit_sim.study.versions import OWN, versions

FORMAT = "vmexit-sim result"
VERSION = 1
"""Counts changes after which older programs cannot read newer files."""

LARGEST = 64 * 2**20
"""Bytes beyond which a result is neither written nor read: some five million samples."""

_FULL = "compare and save it again: vmexit-sim compare … --output FILE.json"


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """What was asked, as a result file tells it; the guests are not there.

    Attributes:
        scenario: as it was effective.
        platform: with the scenario's costs in place.
        policies: in the scenario's order.
        is_random: whether replications could differ.
    """

    scenario: Scenario
    platform: Platform
    policies: Sequence[Policy]
    is_random: bool


@dataclass(frozen=True, kw_only=True)
class Result:
    """A comparison and what goes with it.

    Attributes:
        comparison: what was compared.
        uncertainty: the same with the calibration's uncertainty, if it was asked for.
        command: the command line that made it; empty: it was made from Python.
    """

    comparison: Comparison
    uncertainty: InputUncertainty | None = None
    command: str = ""


def save_result(result: Result, path: Path) -> int:
    """Write a result, whole or not at all.

    Returns:
        The file's size in bytes.

    Raises:
        InputError: its name ends otherwise than in `catalog.RESULT`, it cannot be written, it would
            be larger than `LARGEST`, or what a scenario states is no JSON.
    """
    refuse_other_than_result(path, "path")
    saved = _saved(result)
    try:
        content = _canonical(saved.model_dump(mode="json", by_alias=True, context=AS_STATED))
    except ValueError as error:
        raise InputError(f"holds what no result file can: {error}", file=path) from None
    head = json.dumps({"format": FORMAT, "version": VERSION, "checksum": _checksum(content)})
    whole = head[:-1].encode() + b',\n"content": ' + content + b"}\n"
    if len(whole) > LARGEST:
        raise InputError(f"would be larger than {LARGEST >> 20} MiB", file=path,
                         mend="run fewer replications, policies or guests")  # fmt: skip
    write_content(path, whole)
    return len(whole)


def load_result(path: Path) -> Result:
    """Read a result.

    Raises:
        InputError: it cannot be read; it is too large, no JSON, no result, of a newer format,
            damaged, or says what does not fit.
    """
    document = _document(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(_foreign(document), file=path, mend=_FULL)
    version, content = document.get("version"), document.get("content")
    if type(version) is not int or version < 1:
        raise InputError("is no version of a result file", file=path, key="version",
                         value=version, mend=_FULL)  # fmt: skip
    if version > VERSION:
        raise InputError(
            f"was saved in a newer format{_by(content)}, and vmexit-sim {versions()[OWN]} reads "
            f"up to {VERSION}", file=path, key="version", value=version,
            mend="use that version, or save it again with this one",
        )  # fmt: skip
    try:
        canonical = _canonical(content)
    except ValueError:  # 1e999 is read as infinite
        raise InputError("holds a number that is too large", file=path, mend=_FULL) from None
    if document.get("checksum") != _checksum(canonical):
        raise InputError("was damaged or changed since it was saved: its checksum is another's",
                         file=path, mend=_FULL)  # fmt: skip
    return _result(checked_json(Saved, canonical, file=path, key="content"))


def _document(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    if len(raw) > LARGEST:
        raise InputError(f"is larger than {LARGEST >> 20} MiB", file=path,
                         mend="is it the right file?")  # fmt: skip
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        said = "it nests too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"is no JSON, or not all of it: {said}", file=path, mend=_FULL) from None


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _foreign(document: object) -> str:
    if isinstance(document, dict) and {"blocks", "configuration"} <= document.keys():
        return "is what `compare --json` printed, which lacks rules and replications"
    return "is no saved result"


def _by(content: object) -> str:
    """Which version saved it, where a newer format still says so."""
    made_with = content.get("made_with") if isinstance(content, dict) else None
    own = made_with.get(OWN) if isinstance(made_with, dict) else None
    return f" by vmexit-sim {own[:20]}" if isinstance(own, str) else ""


def _canonical(content: object) -> bytes:
    """The content as the checksum takes it; what no text can hold becomes "?"."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def _checksum(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def _saved(result: Result) -> Saved:
    comparison, uncertainty = result.comparison, result.uncertainty
    opened = comparison.opened
    return Saved(
        made_with=dict(comparison.made_with),
        command=result.command,
        scenario=opened.scenario,
        platform=opened.platform,
        policies=list(opened.policies),
        is_random=opened.is_random,
        guests=[_saved_guest(block) for block in comparison.blocks],
        uncertainty=None if uncertainty is None else SavedUncertainty(
            drawn=uncertainty.drawn, fixed=uncertainty.fixed, draws=uncertainty.draws,
            guests=[[_saved_uncertain(each) for each in block.policies]
                    for block in uncertainty.blocks],
        ),
    )  # fmt: skip


def _saved_guest(block: BlockOutcome) -> SavedGuest:
    cut = block.cut
    return SavedGuest(
        name=block.name, origin=block.origin, accesses=block.accesses, left_out=block.left_out,
        scales=list(block.policies[0].scales), reached=block.reached,
        cut=None if cut is None else SavedCut(accesses=cut.accesses, too_short=cut.too_short),
        outcomes=[
            SavedOutcome(
                reach=outcome.reach, counterfactual=outcome.counterfactual,
                stages=[SavedStage(name=each.name, role=each.role) for each in outcome.stages],
                samples={metric: [finite(value) for value in values]
                         for metric, values in outcome.samples.items()},
                single={metric: SavedEstimate.of(each) for metric, each in outcome.single.items()},
            )
            for outcome in block.policies
        ],
    )  # fmt: skip


def _saved_uncertain(each: Uncertain) -> SavedUncertain:
    return SavedUncertain(
        added=SavedEstimate.of(each.added), difference=SavedEstimate.of(each.difference),
        sampling=SavedEstimate.of(each.sampling), best=each.best,
    )  # fmt: skip


def _result(saved: Saved) -> Result:
    asked = Recalled(scenario=saved.scenario, platform=saved.platform, policies=saved.policies,
                     is_random=saved.is_random)  # fmt: skip
    comparison = Comparison(
        opened=asked,
        replications=max(guest.outcomes[0].replications for guest in saved.guests),
        blocks=[_block(guest, asked) for guest in saved.guests],
        made_with=saved.made_with,
    )
    uncertain = saved.uncertainty
    return Result(
        comparison=comparison,
        uncertainty=None if uncertain is None else InputUncertainty(
            blocks=[
                UncertainBlock(name=guest.name, policies=[
                    Uncertain(policy=policy.name, added=each.added.estimate(),
                              difference=each.difference.estimate(),
                              sampling=each.sampling.estimate(), best=each.best)
                    for policy, each in zip(saved.policies, answers, strict=True)
                ])
                for guest, answers in zip(saved.guests, uncertain.guests, strict=True)
            ],
            drawn=uncertain.drawn, fixed=uncertain.fixed, draws=uncertain.draws,
        ),
        command=saved.command,
    )  # fmt: skip


def _block(guest: SavedGuest, asked: Recalled) -> BlockOutcome:
    samples = [
        {metric: [float("nan") if value is None else value for value in values]
         for metric, values in outcome.samples.items()}
        for outcome in guest.outcomes
    ]  # fmt: skip
    cut = guest.cut
    return BlockOutcome(
        name=guest.name, origin=guest.origin, accesses=guest.accesses, left_out=guest.left_out,
        cut=None if cut is None else Cut(accesses=cut.accesses, too_short=cut.too_short),
        reached=guest.reached,
        policies=[
            PolicyOutcome(
                policy=policy, reach=outcome.reach, counterfactual=outcome.counterfactual,
                samples=own, baseline=samples[0],
                stages=tuple(Stage(each.name, each.role) for each in outcome.stages),
                scales=tuple(guest.scales), is_random=asked.is_random,
                with_cpus=asked.scenario.cpus is not None,
                single={metric: each.estimate() for metric, each in outcome.single.items()},
            )
            for policy, own, outcome in zip(asked.policies, samples, guest.outcomes, strict=True)
        ],
    )  # fmt: skip
