"""Style that a machine can hold: sizes, names, where clocks and the environment are read, which queries exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cryptowatch"
MODULES = sorted(PACKAGE.rglob("*.py"))

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
#: One loop over a block's bytes: calls inside it would cost more than the parsing.
LONG_FOR_A_REASON = {("chains/bitcoin/parse.py", "_parse_all")}
#: Names that say nothing about what is inside.
BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
#: What reads the machine's clock or randomness by itself, outside the daemon's own logic.
CLOCK_ALLOWED = {"clock.py", "leash.py", "devnet", "demo", "db/embedded.py", "cli"}
ENVIRONMENT_ALLOWED = {"settings", "leash.py", "devnet", "db/embedded.py"}


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def _allowed(path: Path, allowed: set[str]) -> bool:
    name = _name(path)
    return any(name == entry or name.startswith(f"{entry}/") for entry in allowed)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_short_and_says_its_role(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES_MAX
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a module begins with its role"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_function_fits_a_screen(path: Path) -> None:
    long = [
        f.name
        for f in _functions(ast.parse(path.read_text()))
        if f.end_lineno is not None and f.end_lineno - f.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert [name for name in long if (_name(path), name) not in LONG_FOR_A_REASON] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_name_says_what_is_inside(path: Path) -> None:
    assert not BANNED_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", [p for p in MODULES if not _allowed(p, CLOCK_ALLOWED)], ids=_name)
def test_time_is_handed_in(path: Path) -> None:
    assert not re.search(r"\b(datetime\.now|datetime\.utcnow|time\.time|time\.monotonic)\(", path.read_text())


@pytest.mark.parametrize("path", [p for p in MODULES if not _allowed(p, ENVIRONMENT_ALLOWED)], ids=_name)
def test_the_environment_is_read_in_the_settings_only(path: Path) -> None:
    assert not re.search(r"\bos\.(environ|getenv)\b", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_is_logged_and_forgotten(path: Path) -> None:
    """What a bare `except Exception` caught is raised, or handed on to something else than the log."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ExceptHandler)
            and isinstance(node.type, ast.Name)
            and node.type.id == "Exception"
        ):
            raised = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            handed_on = any(
                isinstance(argument, ast.Name) and argument.id == node.name
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and "log" not in ast.unparse(call.func)
                for argument in call.args
            )
            assert raised or handed_on, f"line {node.lineno}"


def _queries() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.sql")):
        if "migrations" not in path.parts:
            for name in re.findall(r"^-- name: (\w+)", path.read_text(), re.MULTILINE):
                yield path, name


def test_every_named_query_is_used() -> None:
    unused = []
    for path, name in _queries():
        users = [p.read_text() for p in path.parent.glob("*.py") if f'"{path.name}"' in p.read_text()]
        # A family of queries is asked for as f"newest_{state}".
        family = f'f"{name.rpartition("_")[0]}_{{'
        if not any(f'"{name}"' in text or family in text for text in users):
            unused.append(f"{_name(path)}: {name}")
    assert not unused


def test_sql_stands_in_sql_files() -> None:
    found = []
    for path in MODULES:
        if _allowed(path, {"devnet", "demo", "db"}):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.match(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM)\s+\w+\s+\w+", node.value)
            ):
                found.append(f"{_name(path)}:{node.lineno}")
    assert not found
