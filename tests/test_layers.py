"""The rooms of the house: what each is for, who may import whom, and the tree of them in CONTRIBUTING."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = {
    "trainer": (
        {"ctrl_c", "dotted_path", "mistakes"},
        {"console", "memory", "foreign_options", "optim"},
        {"files"},
        {"distributed"},
        {"checkpoints", "images"},
        {"networks", "prepare", "telemetry"},
        {"losses", "pairs", "upscale"},
        {"adversarial", "validation", "upscaler"},
        {"config", "objective", "state"},
        {"building", "configs", "export", "import_options", "runs"},
        {"report"},
        {"hub"},
        {"base_model", "saving"},
        {"steps"},
        {"flops", "models"},
        {"experiment"},
        {"lifecycle"},
        {"loop", "dry_run", "push"},
        {"photos", "training"},
        {"command"},
        {"run"},
        {"launcher", "profiler"},
    ),
    "degradations": (
        {"checks", "constants", "formats", "precision", "values"},
        {"keyed_random"},
        {"recipes"},
        {"operations"},
        {"second_order"},
        {"fused"},
        {"pipeline"},
        {"parse"},
        {"eligible", "preview"},
    ),
}
"""From the bottom up. A room, a folder or a single module, imports rooms of lower layers only."""

ALLOWED = {"degradations": {"torch", "einops", "triton"}, "lazily": {"PIL", "yaml", "numpy"}}
"""What degradations/ may import besides the standard library; the second only inside a function."""

ALONE = {"pydantic": "trainer.config.loader", "yaml": "trainer.files.bounded_yaml"}
"""Packages that one module of trainer/ knows, so that it can be exchanged."""


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Dotted names that a file imports, and whether at the top of the module (else within a function)."""
    tree = ast.parse(file.read_text())
    at_top = {id(node) for node in top_level(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            for alias in node.names:  # either may be a module: the package, or what is imported from it
                inner = f"{node.module}.{alias.name}"
                place = ROOT / inner.replace(".", "/")
                is_module = place.with_suffix(".py").is_file() or place.is_dir()
                yield inner if is_module else str(node.module), id(node) in at_top


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, those under `if` and `try` included; not those for types."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop()
        yield statement
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        if isinstance(statement, ast.If | ast.Try):
            waiting += [*statement.body, *statement.orelse]
        if isinstance(statement, ast.Try):
            waiting += [line for handler in statement.handlers for line in handler.body]


def arrows(package: str) -> dict[str, set[str]]:
    """Room -> the other rooms of its package that it imports, anywhere in its files."""
    known: dict[str, set[str]] = {}
    for name, file in modules(package).items():
        if name != package:
            room = name.split(".")[1]
            others = {other.split(".")[1] for other, _ in imports(file) if other.startswith(f"{package}.")}
            known.setdefault(room, set()).update(others - {room})
    return known


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_has_a_layer(package: str) -> None:
    """A new room is entered in the table above: that is when its place is thought about."""
    placed = [name for layer in LAYERS[package] for name in layer]
    assert sorted(placed) == sorted(arrows(package))


@pytest.mark.parametrize("package", LAYERS)
def test_imports_only_go_down_the_layers(package: str) -> None:
    height = {name: number for number, layer in enumerate(LAYERS[package]) for name in layer}
    for name, others in arrows(package).items():
        for other in others:
            assert height[other] < height[name], f"{package}.{name} imports {package}.{other}, which is not below it"


@pytest.mark.parametrize("package", LAYERS)
def test_no_imports_go_in_circles(package: str) -> None:
    """Those within functions count too."""
    files = modules(package)
    known = {name: {other for other, _ in imports(file) if other in files and other not in (name, package)}
             for name, file in files.items() if name != package}  # fmt: skip
    while known:
        free = {name for name, others in known.items() if not others & known.keys()}
        assert free, f"these import each other: {sorted(known)}"
        known = {name: others for name, others in known.items() if name not in free}


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring, in one line."""
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert text, f"{file} does not say what it is"
    return " ".join(text.split("\n\n")[0].split())


def tree_of(folder: Path, indent: str = "") -> Iterator[str]:
    """A line for each room below a folder, then for each of its modules, with their own first sentences."""
    inner = sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file())
    for path in inner:
        yield f"{indent}{path.name}/  {sentence(path / '__init__.py')}"
        yield from tree_of(path, indent + "  ")
    for path in sorted(folder.glob("*.py")) if folder.parent == ROOT else ():
        if path.name != "__init__.py":
            yield f"{indent}{path.name}  {sentence(path)}"


@pytest.mark.parametrize(
    ("package", "page"),
    [("trainer", "CONTRIBUTING.md"), ("trainer", "trainer/README.md"), ("degradations", "CONTRIBUTING.md")],
)
def test_the_trees_in_the_pages_are_the_rooms_own_sentences(package: str, page: str) -> None:
    """`python tests/test_layers.py` prints them."""
    wanted = "\n".join([f"{package}/", *tree_of(ROOT / package, "  ")])
    assert wanted in (ROOT / page).read_text()


def test_degradations_never_import_the_trainer() -> None:
    for file in modules("degradations").values():
        assert not [name for name, _ in imports(file) if name.split(".")[0] == "trainer"], file


def test_degradations_stand_on_torch_and_the_standard_library_alone() -> None:
    for file in modules("degradations").values():
        for name, at_top in imports(file):
            top = name.split(".")[0]
            allowed = ALLOWED["degradations"] | (set() if at_top else ALLOWED["lazily"])
            place = "at the top" if at_top else "in a function"
            assert top in {*sys.stdlib_module_names, "degradations", *allowed}, f"{file} imports {name} {place}"


def test_no_room_of_the_trainer_hides_a_module() -> None:
    """`accelerate launch trainer/run.py` puts trainer/ first on sys.path."""
    others = set(sys.stdlib_module_names) | (packages_distributions().keys() - {"trainer", "degradations"})
    assert not arrows("trainer").keys() & others


def test_pydantic_and_yaml_are_known_to_one_module_each() -> None:
    for module, file in modules("trainer").items():
        for name, _ in imports(file):
            keeper = ALONE.get(name.split(".")[0])
            assert keeper in (None, module), f"{file} imports {name}; only {keeper} may"


def test_every_room_goes_into_the_wheel() -> None:
    """Setuptools packs folders that are packages, and what `package-data` names besides."""
    for package in LAYERS:
        rooms = {file.parent for file in (ROOT / package).rglob("*.py")}
        assert [room for room in rooms if not (room / "__init__.py").is_file()] == []


if __name__ == "__main__":
    for package in LAYERS:
        print("\n".join([f"{package}/", *tree_of(ROOT / package, "  ")]))
        print(f"{len(arrows(package))} rooms, {sum(map(len, arrows(package).values()))} arrows", file=sys.stderr)
