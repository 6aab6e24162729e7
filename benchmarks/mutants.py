"""Mutants of a module: its source with one small fault each.

The faults are mutmut's (its operators on LibCST's tree: other operators, constants one larger,
arguments dropped or None, results None, conditions turned) and one more, a statement that is not
executed. Unlike mutmut's own run this also goes into decorated functions, for the kernels that
Numba compiles are decorated, as are properties.

Left alone is what no run can tell apart: annotations, decorators, docstrings, texts for people (a
string with a blank in it, an f-string), `__all__`, what stands under `if TYPE_CHECKING`, and names
given to `cast` and `TypeVar`; and Numba's intrinsics, which are not run but emit code.
"""

from __future__ import annotations

import ast
import difflib
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

LEFT_ALONE = (
    m.Annotation()
    | m.Decorator()
    | m.Import()
    | m.ImportFrom()
    | m.TypeAlias()
    | m.FormattedString()
    | m.ConcatenatedString()
    | m.If(test=m.Name("TYPE_CHECKING"))
    | m.FunctionDef(decorators=[m.Decorator(decorator=m.Name("intrinsic"))])
    | m.Call(func=m.Name("cast") | m.Name("TypeVar"))
    | m.Assign(targets=[m.AssignTarget(target=m.Name("__all__"))])
)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault.

    Attributes:
        path: the module's file, relative to the repository.
        first: first line of what is changed, from 1.
        last: its last line.
        within: the classes and functions around it, with dots between; may be empty.
        on_import: whether it runs when the module is imported: no function is around it.
        source: the whole module with the fault.
        diff: the fault, as lines that begin with − and +.
    """

    path: str
    first: int
    last: int
    within: str
    on_import: bool
    source: str
    diff: str


def _for_people(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleString) and " " in node.value


class _Faults(cst.CSTVisitor):
    """Collects (node, what stands in its place, lines, what is around, on import)."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, int, int, str, bool]] = []
        self.around: list[cst.FunctionDef | cst.ClassDef] = []
        self.defaults: list[cst.Parameters] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if m.matches(node, LEFT_ALONE):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.around.append(node)
        if self.around and getattr(self.around[-1], "params", None) is node:
            self.defaults.append(node)
        if not _for_people(node):
            for kind, operator in mutation_operators:
                if isinstance(node, kind):
                    for other in operator(node):
                        self._note(node, other)
        if isinstance(node, cst.Expr) and not isinstance(node.value, cst.BaseString):
            self._note(node, cst.Pass())
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        if self.around and self.around[-1] is node:
            self.around.pop()
        if self.defaults and self.defaults[-1] is node:
            self.defaults.pop()

    def _note(self, node: cst.CSTNode, other: cst.CSTNode) -> None:
        if (
            isinstance(node, cst.SimpleString)
            and isinstance(other, cst.SimpleString)
            and (not other.value.strip("bru\"'").startswith("XX"))
        ):
            return  # one fault a string is enough: not its upper and lower case as well
        place = self.get_metadata(PositionProvider, node)
        within = ".".join(each.name.value for each in self.around)
        functions = sum(isinstance(each, cst.FunctionDef) for each in self.around)
        on_import = functions == len(self.defaults)  # a default belongs to what is around
        self.found.append((node, other, place.start.line, place.end.line, within, on_import))


def mutants_of(paths: list[Path], root: Path, sample: int, seed: int) -> tuple[int, list[Mutant]]:
    """How many faults the files could have, and a random sample of them (all if there are fewer).

    A fault that does not compile, or is none, is no mutant: the next one of the random order takes
    its place.
    """
    places = [(path, index) for path in paths for index in range(len(_Module.of(path).faults))]
    random.Random(seed).shuffle(places)
    drawn: list[Mutant] = []
    for path, index in places:
        if len(drawn) == sample:
            break
        if mutant := _Module.of(path).mutant(index, root):
            drawn.append(mutant)
    return len(places), sorted(drawn, key=lambda mutant: (mutant.path, mutant.first))


class _Module:
    """A file's tree and what can be wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, path.read_text()
        wrapper = MetadataWrapper(cst.parse_module(self.text))
        visitor = _Faults()
        wrapper.visit(visitor)
        self.tree, self.faults = wrapper.module, visitor.found

    @staticmethod
    @cache
    def of(path: Path) -> _Module:
        return _Module(path)

    def mutant(self, index: int, root: Path) -> Mutant | None:
        """One of the faults as a mutant, or None if it does not compile or changes nothing."""
        node, other, first, last, within, on_import = self.faults[index]
        source = cst.ensure_type(self.tree.deep_replace(node, other), cst.Module).code
        try:
            if ast.dump(ast.parse(source)) == ast.dump(ast.parse(self.text)):
                return None
            compile(source, str(self.path), "exec")
        except SyntaxError:
            return None
        lines = difflib.unified_diff(self.text.splitlines(), source.splitlines(), n=0, lineterm="")
        return Mutant(
            path=str(self.path.relative_to(root)), first=first, last=last, within=within,
            on_import=on_import, source=source, diff="\n".join(list(lines)[3:]),
        )  # fmt: skip
