"""The style, as tests: sizes, names, floors that import-linter cannot see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
BRITISH = re.compile(
    r"\b(behaviours?|colours?|normalis\w+|optimis\w+|serialis\w+|recognis\w+|authoris\w+|favourites?|labelled|modelled)\b"
)
ADDRESSES = re.compile(r"pythonhosted\.org|pypi\.org|registry\.npmjs\.org|--(extra-)?index-url|\"resolved\": *\"http")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def modules() -> list[Path]:
    return tracked("services/*.py", "clients/*.py", "tools/*.py", "bench/*.py", "tests/*.py")


def source_modules() -> list[Path]:
    return [path for path in modules() if path.relative_to(ROOT).parts[0] != "tests"]


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in modules()
        if (count := len(path.read_text().splitlines())) > MODULE_LINES_MAX
    }
    assert long == {}


def test_functions_are_short() -> None:
    long = []
    for path in source_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {length}")
    assert long == []


def test_no_module_is_a_junk_drawer() -> None:
    assert [str(path) for path in modules() if path.stem in BANNED_NAMES] == []


def test_every_public_module_class_and_function_says_what_it_is() -> None:
    bare = []
    for path in source_modules():
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None:
            bare.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                if ast.get_docstring(node) is None:
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
                for inner in node.body if isinstance(node, ast.ClassDef) else ():
                    is_public = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner.name[0] != "_"
                    if is_public and not _is_signature(inner) and ast.get_docstring(inner) is None:
                        bare.append(f"{path.relative_to(ROOT)}:{inner.lineno} {node.name}.{inner.name}")
    assert bare == []


def _is_signature(node: ast.stmt) -> bool:
    """Say whether a function is a bare signature: an overload, or a member of a protocol that its class explains."""
    body = getattr(node, "body", [])
    return len(body) == 1 and isinstance(body[0], ast.Expr) and getattr(body[0].value, "value", None) is Ellipsis


def test_the_domain_imports_the_standard_library_alone() -> None:
    for path in tracked("services/domain/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names or name.startswith("services.domain"), f"{path}: {name}"


def test_spelling_is_american() -> None:
    found = []
    for path in tracked("services", "clients/python", "proto/perpmesh", "docs", "README.md", "envoy", "deploy"):
        if path.suffix in (".py", ".proto", ".md", ".yaml"):
            found += [f"{path.relative_to(ROOT)}: {word}" for word in BRITISH.findall(path.read_text())]
    assert found == []


def test_no_tracked_file_names_a_registry() -> None:
    own = Path(__file__)
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path != own and path.suffix not in (".binpb", ".png") and ADDRESSES.search(path.read_text(errors="ignore"))
    ]
    assert found == []


CALLS = {
    "stream": {"market_data", "execution", "portfolio"},
    "routing": {"market_data", "portfolio"},
    "portfolio": {"market_data", "execution"},
    "execution": {"vault", "routing", "market_data"},
}
"""Who may call whom (docs/ARCHITECTURE.md); the stub packages a room imports say whom it calls."""
PACKAGE_ROOMS = {"marketdata": "market_data"}


@pytest.mark.parametrize("room", ["market_data", "routing", "execution", "vault", "auth", "portfolio", "stream"])
def test_a_room_calls_only_whom_the_table_names(room: str) -> None:
    called = set()
    for path in tracked(f"services/{room}/*.py"):
        for package, kind in re.findall(r"perpmesh\.(\w+)\.v1 import .*?(\w+_pb2_grpc)", path.read_text()):
            called.add(PACKAGE_ROOMS.get(package, package))
            assert kind
    assert called - {room} <= CALLS.get(room, set())
