"""The house: who may import whom, and what a command or a process must not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tlsearch"
QUICKSTART = ROOT / "studies" / "quickstart.yaml"
COMPARISON = ROOT / "studies" / "learning_rate_strategies.yaml"

# From the ground up: a file imports from the folders below its own, and from its own.
FLOORS = (
    "__init__",
    "errors",
    "config",
    "metrics",
    "models",
    "data",
    "training",
    "comparison",
    "tracking",
    "execution",
    "search",
    "report",
    "api",
    "cli",
    "__main__",
)
LEVEL = {part: level for level, part in enumerate(FLOORS)}
ALLOWED_IN: dict[str, frozenset[str]] = {
    "mlflow": frozenset({"tracking"}),
    "optuna": frozenset({"search", "report"}),
    "typer": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "plotly": frozenset({"report"}),
    "jinja2": frozenset({"report"}),
    "torch": frozenset(
        {"metrics", "models", "training", "data", "tracking", "execution", "search", "cli"}
    ),
    "torchvision": frozenset({"models", "training", "data", "execution"}),
    "timm": frozenset({"models"}),
    "onnx": frozenset({"models"}),
    "onnxruntime": frozenset({"models"}),
    "onnxscript": frozenset({"models"}),
}
HEAVY = (
    "torch",
    "torchvision",
    "optuna",
    "mlflow",
    "sklearn",
    "scipy",
    "numpy",
    "plotly",
    "cleanlab",
)
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, those inside functions and type checks included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_imports_come_from_lower_floors_or_the_own_folder() -> None:
    for path in FILES:
        check_imports(path)


def check_imports(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"{part} stands on no floor"
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "tlsearch":
            other = rest[0] if rest and rest[0] in LEVEL else "__init__"
            if other == part or part == "__init__":  # the front door, whose names are lazy
                continue
            assert LEVEL[other] < LEVEL[part], f"{path}: {part} must not import {other}"
        elif top in ALLOWED_IN:
            assert part in ALLOWED_IN[top], f"{path}: only {sorted(ALLOWED_IN[top])} import {top}"


def test_a_workers_code_knows_no_optuna_and_no_mlflow() -> None:
    files = sorted((PACKAGE / "execution").glob("*.py"))
    assert len(files) > 5
    for path in files:
        assert not {name.split(".")[0] for name in imported(path)} & {"optuna", "mlflow"}, path


def test_a_forbidden_import_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from tlsearch.search import store\n    import mlflow.pytorch\n")
    assert set(imported(file)) == {"tlsearch.search.store", "mlflow.pytorch"}


def test_no_module_is_a_drawer() -> None:
    names = {path.stem for path in FILES} | {path.parent.name for path in FILES}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


KEPT = frozenset({"metrics.drift"})
"""Short modules with one importer that stay: entries of a registry, looked up by their own name."""
LONGEST, SHORTEST = 600, 80


def test_no_module_is_a_monster() -> None:
    lengths = {str(p.relative_to(ROOT)): p.read_text().count("\n") for p in FILES}
    assert not {name: n for name, n in lengths.items() if n > LONGEST}


def test_no_module_is_a_shard() -> None:
    """A short module that one other imports is a part of that one."""
    modules = {name_of(path): path for path in FILES if path.stem != "__init__"}
    importers: dict[str, set[str]] = {name: set() for name in modules}
    for user, path in modules.items():
        for name in imported(path):
            found = name if name in modules else name.rpartition(".")[0]
            if found in modules and found != user:
                importers[found].add(user)
    shards = {
        name.removeprefix("tlsearch.")
        for name, users in importers.items()
        if len(users) == 1 and modules[name].read_text().count("\n") < SHORTEST
    }
    assert shards <= KEPT


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def loaded(code: str, *, cwd: Path) -> set[str]:
    """The top-level modules in memory after `code`, run by a fresh interpreter."""
    tail = "\nprint('\\n' + ' '.join(sorted({n.partition('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{tail}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.strip().splitlines()[-1].split())


COMMAND = """
from tlsearch.cli import main
sys.argv = {arguments!r}
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["tlsearch", "--help"],
        ["tlsearch", "--version"],
        ["tlsearch", "run", "--help"],
        ["tlsearch", "export", "--help"],
        ["tlsearch", "predict", "--help"],
        ["tlsearch", "check", str(QUICKSTART)],
        ["tlsearch", "check", str(QUICKSTART), "--json", "--preset", "small"],
        ["tlsearch", "check", "--schema"],
    ],
    ids=lambda a: " ".join(a[1:3]),
)
def test_light_commands_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    found = loaded(COMMAND.format(arguments=arguments), cwd=tmp_path)
    assert not found & set(HEAVY)


def test_what_a_comparison_can_show_is_told_with_quantiles_alone(tmp_path: Path) -> None:
    arguments = ["tlsearch", "check", str(COMPARISON)]
    found = loaded(COMMAND.format(arguments=arguments), cwd=tmp_path)
    assert found & set(HEAVY) == {"numpy", "scipy"}


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("api", (*HEAVY, "pandas", "rich", "typer")),
        ("cli", HEAVY),
        ("execution.worker", HEAVY),
        (
            "execution.worker, tlsearch.execution.workbench, tlsearch.execution.prepare",
            "optuna mlflow",
        ),
        ("search.runner, tlsearch.search.summary", "torch torchvision sklearn mlflow"),
        ("config.loader, tlsearch.config.resolved", HEAVY),
    ],
    ids=["api", "cli", "worker", "workbench", "coordinator", "study"],
)
def test_processes_load_only_what_they_need(
    modules: str, absent: str | tuple[str, ...], tmp_path: Path
) -> None:
    found = loaded(f"import tlsearch.{modules}", cwd=tmp_path)
    assert not found & set(absent.split() if isinstance(absent, str) else absent)
