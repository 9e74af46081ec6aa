"""The shape of the program: imports run one way, files stay small, what is public is there and explained."""

import ast
import inspect
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import fphi
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.methods.base import Setting
from fphi.methods.maml import MAML

SOURCE = Path(fphi.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# A package imports only from packages to the right of it.
LEVELS = (
    ("__main__",), ("cli", "demo"), ("export",), ("experiments", "serve"), ("augmentation", "few_shot", "optim", "weighting"), ("experiment",), ("methods",), ("report",), ("run",), ("optimize",), ("objective",),
    ("learnable",), ("within",), ("networks", "tasks"), ("native", "ranges", "table"), ("errors",),
)  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imported(node: ast.AST, module: str) -> list[str]:
    """The modules of fphi that an import statement names, the full path of each."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "fphi"]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{module}: a relative import"
    if node.module is None or node.module.split(".")[0] != "fphi":
        return []
    below = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in MODULES else node.module for name in below]


def all_imports(module: str) -> set[str]:
    """Wherever they stand: in functions and for type checkers too."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return {name for node in ast.walk(tree) for name in imported(node, module)}


def imports_when_loaded(module: str) -> set[str]:
    """Those at the top level, which run when the module is first imported."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If):
                if "TYPE_CHECKING" not in ast.dump(node.test):
                    yield from statements(node.body)
            else:
                yield node

    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return {name for node in statements(tree.body) for name in imported(node, module)} - {module}


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in MODULES if "." in name])
def test_imports_run_one_way(module: str) -> None:
    own = package_of(module)
    assert own in LEVEL, f"{own} has no place in the chain"
    for name in all_imports(module):
        other = package_of(name)
        # The root itself has no part in the chain: it gives the version, and other names when they are used.
        assert other in (own, "") or LEVEL[own] < LEVEL[other], f"{module} imports {name}"


def test_the_root_loads_nothing_but_the_errors() -> None:
    assert imports_when_loaded("fphi") == {"fphi.errors"}


def test_no_module_is_loaded_for_itself() -> None:
    graph = {module: imports_when_loaded(module) for module in MODULES}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


# What a reader opens to know how MAML learns, from the paper's choices to the update of the parameters.
CHAIN = (
    "fphi.methods.maml",
    "fphi.learnable.initialization.gradient_learner",
    "fphi.within.unroll",
    "fphi.within.optimizers",
)


def defining_modules(module: str) -> set[str]:
    """The modules whose names a module imports; those that only pass a name on are looked through."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fphi"
        for alias in node.names
    ]
    found = (getattr(import_module(str(source)), name) for source, name in names)
    return {getattr(value, "__module__", "") for value in found}


def test_maml_is_read_in_at_most_five_files() -> None:
    """Each of them names the next, and the last one has the update that the first one chooses."""
    assert len(CHAIN) <= 5
    for one, following in pairwise(CHAIN):
        assert following in defining_modules(one), f"{one} uses nothing of {following}"
    assert CHAIN[-1] in defining_modules(CHAIN[0])
    learner = MAML().learner(Setting(5, 1, (1, 16, 16)))
    assert isinstance(learner, GradientLearner)
    assert type(learner.optimizer).update.__module__ == CHAIN[-1]


OPTIMIZE = [name for name in MODULES if name.startswith("fphi.optimize")]
# Modules and functions that reach a disk; torch's own are named by what they are called.
DISK = {"os", "io", "pathlib", "shutil", "tempfile", "safetensors", "open", "save", "load"}


def reaching(module: str, words: set[str]) -> set[str]:
    """Which of the words a module imports from or calls."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Call):
            found.add(ast.unparse(node.func).removeprefix("torch."))
    return found & words


@pytest.mark.parametrize("module", OPTIMIZE)
def test_optimizers_know_no_architectures_and_no_files(module: str) -> None:
    assert not [name for name in all_imports(module) if name.startswith("fphi.learnable.architecture")]
    assert reaching(module, DISK) == set()


def test_the_command_line_is_small() -> None:
    """It parses, calls and prints; what it can do, Python can do."""
    lines = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in FILES if p.parent.name == "cli"}
    assert sum(lines.values()) < 1200, lines


def test_the_rules_would_notice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "def f():\n    from fphi.cli.main import main\nimport fphi.run.meta.loop\nfrom fphi import errors\n"
        "from pathlib import Path\nimport torch\nopen(Path()), torch.load('x'), self.load('x')\n"
    )
    monkeypatch.setitem(MODULES, "fphi.tasks.bad", bad)
    assert all_imports("fphi.tasks.bad") == {"fphi.cli.main", "fphi.run.meta.loop", "fphi.errors"}
    with pytest.raises(AssertionError, match=r"fphi\.tasks\.bad imports"):
        test_imports_run_one_way("fphi.tasks.bad")
    assert reaching("fphi.tasks.bad", DISK) == {"pathlib", "open", "load"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_file_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_every_public_name_is_there_once_and_in_order() -> None:
    assert all(hasattr(fphi, name) for name in fphi.__all__)
    assert len(set(fphi.__all__)) == len(fphi.__all__)
    assert set(fphi.__all__) <= set(dir(fphi))
    with pytest.raises(AttributeError, match="module 'fphi' has no attribute 'nonsense'"):
        fphi.nonsense  # noqa: B018


@pytest.mark.parametrize("name", fphi.__all__)
def test_every_public_name_is_explained(name: str) -> None:
    """By a docstring of its own, not one that it inherits."""
    public = getattr(fphi, name)
    text = public.__dict__.get("__doc__") if inspect.isclass(public) else public.__doc__
    assert text
    assert text.strip().splitlines()[0].endswith((".", "?", ":"))


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_exports_is_there(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    exported = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    only_explained = len(tree.body) == 1 and ast.get_docstring(tree) is not None
    assert len(exported) == (0 if not tree.body or only_explained else 1)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    assert set(exported[0] if exported else ()) <= names
