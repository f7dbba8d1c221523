"""The rooms of the house: who may import whom (laws 9 and the table of section 3 of the design)."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    # leaves: each knows its subject only
    {
        "mistakes",
        "foreign",
        "durable",
        "paths",
        "annotations",
        "plain_yaml",
        "levels",
        "batch",
        "schedule",
        "plateau",
        "game",
        "health",
        "cadence",
        "compiling",
        "ema",
        "quality",
        "quality_bands",
        "strips",
        "measures",
        "stopwatch",
        "stop",
        "waiting",
        "courier",
        "tiles",
        "conveyor",
        "console",
        "lines",
        "disk",
        "chance",
        "loss_scale",
        "watched",
        "leftovers",
        "stream",
    },
    {
        "networks",
        "losses",
        "images",
        "run_folder",
        "checkpoint",
        "run_export",
        "player",
        "restraint",
        "control",
        "state_dicts",
    },
    {"weights", "released", "hub", "pusher", "upscaler", "picture_files", "disclosure", "hub_config"},
    # parts
    {"adversary", "objective", "synthesis", "state", "unreadable"},
    {"digest", "comparison", "pool", "validate", "trackers", "side_stream", "feed"},
    {"telemetry", "saving"},
    # configuration
    {"override", "config_io", "figures", "config"},
    {"claim", "exports", "opening", "options_tree", "upstream_options", "opensr_networks", "opensr_options"},
    {"card", "publishing", "ranks"},
    {"everywhere", "joined"},
    # the whole
    {"makers", "accelerator"},
    {"experiment"},
    {"assemble"},
    {"banner", "steps", "resume", "finale"},
    {"loop", "dry_run"},
    # entry
    {"command", "export", "import_options", "upscale"},
    {"push"},
    {"run", "runs"},
)
"""From the bottom up. A room (a module, or a package with all that is in it) imports rooms of lower layers, or of its
own layer where that makes no cycle."""

ALLOWED = {"degradations": {"torch", "einops", "triton"}, "lazily": {"PIL", "yaml", "numpy"}}
"""What degradations/ may import besides the standard library; the second only inside a function."""

ALONE = {"pydantic": "config_io", "yaml": "plain_yaml"}
"""Packages that one module of trainer/ knows, so that it can be exchanged."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


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
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").is_file()
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


def room(file: Path) -> str:
    """The room of a module of trainer/: itself, or the sub-package that it lies in."""
    return file.relative_to(ROOT / "trainer").with_suffix("").parts[0]


def rooms_known() -> dict[str, set[str]]:
    """Room -> the other rooms of trainer/ that it imports."""
    known: dict[str, set[str]] = {}
    for file in modules("trainer"):
        if file.name == "__init__.py" and file.parent == ROOT / "trainer":
            continue
        names = {name.split(".")[1] for name, _ in imports(file) if name.startswith("trainer.")}
        known.setdefault(room(file), set()).update(names - {room(file)})
    return known


def test_degradations_never_import_the_trainer() -> None:
    for file in modules("degradations"):
        assert not [name for name, _ in imports(file) if name.split(".")[0] == "trainer"], file


def test_degradations_stand_on_torch_and_the_standard_library_alone() -> None:
    for file in modules("degradations"):
        for name, at_top in imports(file):
            top = name.split(".")[0]
            allowed = ALLOWED["degradations"] | (set() if at_top else ALLOWED["lazily"])
            place = "at the top" if at_top else "in a function"
            assert top in {*sys.stdlib_module_names, "degradations", *allowed}, f"{file} imports {name} {place}"


def test_every_module_of_the_trainer_has_a_layer() -> None:
    """A new module is entered in the table above: that is when its place is thought about."""
    placed = [name for layer in LAYERS for name in layer]
    assert len(placed) == len(set(placed))
    assert not rooms_known().keys() - set(placed)


def test_imports_only_go_down_the_layers() -> None:
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for name, others in rooms_known().items():
        for other in others:
            assert height[other] <= height[name], f"trainer.{name} imports trainer.{other}, which is above it"


@pytest.mark.parametrize("package", ["trainer", "degradations"])
def test_no_imports_go_in_circles(package: str) -> None:
    files = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
             for file in modules(package)}  # fmt: skip
    known = {name: {other for other, at_top in imports(file) if at_top and other in files and other != name}
             for name, file in files.items()}  # fmt: skip
    while known:
        free = {name for name, others in known.items() if not others & known.keys()}
        assert free, f"these import each other: {sorted(known)}"
        known = {name: others for name, others in known.items() if name not in free}


def test_no_module_of_the_trainer_hides_another() -> None:
    """`accelerate launch trainer/run.py` puts trainer/ first on sys.path."""
    own = {room(file) for file in modules("trainer")} - {"__init__"}
    others = set(sys.stdlib_module_names) | (packages_distributions().keys() - {"trainer", "degradations"})
    assert not own & others


def test_pydantic_and_yaml_are_known_to_one_module_each() -> None:
    for file in modules("trainer"):
        for name, _ in imports(file):
            keeper = ALONE.get(name.split(".")[0])
            assert keeper in (None, room(file)), f"{file} imports {name}; only trainer.{keeper} may"
