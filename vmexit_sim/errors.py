"""What can go wrong, in words a user can act on.

Every mistake in a user's input becomes an `InputError`, which names the file, the key, the value,
and the mend; the command line prints it and ends with status 2, without a traceback. A
`SimulationError` is a model that cannot go on (a deadlock); it says who waits for whom.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VmexitError(Exception):
    """Base of every error that vmexit-sim raises on purpose."""


class InputError(VmexitError):
    """Something the user gave cannot be used.

    Args:
        problem: what is wrong, as a clause ("is not a time").
        file: the file it stands in, if any.
        key: the dotted key or place ("costs.decode_mmio", "line 17"), if any.
        value: the offending value, if any.
        mend: what would make it right, if that can be said.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        key: str | None = None,
        value: object = None,
        mend: str | None = None,
    ) -> None:
        self.problem, self.file, self.key, self.value, self.mend = problem, file, key, value, mend
        super().__init__(problem)

    def located(self, *, file: object = None, key: str | None = None) -> InputError:
        """The same error, with the place filled in where it was not known."""
        return InputError(
            self.problem,
            file=self.file if self.file is not None else file,
            key=self.key if self.key is not None else key,
            value=self.value,
            mend=self.mend,
        )

    def __str__(self) -> str:
        key = None if self.key is None else _shortened(self.key, 300)
        place = ": ".join(str(part) for part in (self.file, key) if part is not None)
        shown = "" if self.value is None else f"{_shortened(repr(self.value))} "
        text = f"{place}: {shown}{self.problem}" if place else f"{shown}{self.problem}"
        return f"{text}; {self.mend}" if self.mend else text


class InputErrors(InputError):
    """Several mistakes of one file, reported together."""

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(str(error) for error in self.errors))

    def located(self, *, file: object = None, key: str | None = None) -> InputError:
        """Each of them, with the place filled in where it was not known."""
        return InputErrors(error.located(file=file, key=key) for error in self.errors)


class SimulationError(VmexitError):
    """The model cannot go on, for instance because of a deadlock."""


class NoKvm(VmexitError):
    """This host cannot be probed: there is no /dev/kvm, or it may not be used."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A mend for an unknown name: the nearest known one, or the list of all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def _shortened(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
