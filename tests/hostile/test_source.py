"""What the program's own code never does, so that no file can make it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmexit_sim

PACKAGE = Path(vmexit_sim.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
IMPORTS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml",
           "tarfile", "zipfile"}  # fmt: skip
ATTRIBUTES = {
    "read_pickle", "to_pickle", "read_hdf", "system", "popen", "literal_eval", "from_string",
    "unpack_archive", "extractall",
}  # fmt: skip
KEYWORDS = {"shell": True, "allow_pickle": True, "autoescape": False}


def forbidden(tree: ast.Module) -> Iterator[str]:
    """What a module does of all that, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield f"line {node.lineno}: {node.func.id}()"
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg in KEYWORDS and not (
                    isinstance(value, ast.Constant) and value.value != KEYWORDS[keyword.arg]
                ):
                    yield f"line {node.lineno}: {keyword.arg}="
        elif isinstance(node, ast.Import):
            roots = {alias.name.partition(".")[0] for alias in node.names}
            yield from (f"line {node.lineno}: import {name}" for name in roots & IMPORTS)
        elif isinstance(node, ast.ImportFrom):
            root = (node.module or "").partition(".")[0]
            if root in IMPORTS:
                yield f"line {node.lineno}: from {root} import"
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield f"line {node.lineno}: .{node.attr}"


def test_nothing_is_evaluated_unpickled_or_handed_to_a_shell() -> None:
    assert len(MODULES) > 100
    found = [
        f"{path.relative_to(PACKAGE)}: {what}"
        for path in MODULES
        for what in forbidden(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')", "exec(x)", "import pickle", "from pickle import loads", "import yaml",
        "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=yes)", "pd.read_pickle(p)",
        "subprocess.run(c, shell=True)", "os.system(c)", "Environment(autoescape=False)",
    ],
)  # fmt: skip
def test_each_of_these_would_be_found(code: str) -> None:
    assert list(forbidden(ast.parse(code)))
