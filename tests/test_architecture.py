"""The shape of the house: one direction, pure models, one reader of the environment, files of a readable size."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = {"models": 0, "connectors": 1, "streams": 2}
PURE = {"numpy", "pydantic", "pydantic_core"}  # the last is pydantic's own engine
IMPURE_STDLIB = {
    "asyncio",
    "fcntl",
    "glob",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
LONG_WITH_REASON = {
    "tests/connectors/test_inputs.py": "one rig, every way in which files change under a reader",
    "tests/connectors/test_world.py": "one world, every fault with its right, useless and harmful actions",
    "tests/models/test_workflow.py": "one state machine, every rule",
    "tests/streams/test_case_decide.py": "one table of policy, every row on the real step",
    "tests/streams/test_detect.py": "one warm story, made once, that most tests begin from",
}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


def test_imports_go_one_way():
    for folder, layer in LAYERS.items():
        for path in files(folder):
            upwards = {name for name in imports(path) if LAYERS.get(name, -1) > layer}
            assert not upwards, f"{path.relative_to(ROOT)} imports {upwards}"


def test_models_import_only_numpy_pydantic_and_pure_parts_of_the_standard_library():
    for path in files("models"):
        allowed = PURE | {"models"} | (set(sys.stdlib_module_names) - IMPURE_STDLIB)
        assert imports(path) <= allowed, f"{path.relative_to(ROOT)} imports {imports(path) - allowed}"
        assert not calls(path) & {"open", "print", "input", "datetime.now", "datetime.utcnow", "date.today"}, path


def test_only_settings_reads_the_environment():
    for folder in LAYERS:
        for path in files(folder):
            text = path.read_text()
            reads = "os.environ" in text or "getenv" in text
            assert not reads or path.name == "settings.py", path.relative_to(ROOT)


def test_only_wiring_puts_the_parts_together():
    builders = [path.name for path in files("streams") if "EmbeddedHost(" in path.read_text()]
    assert builders == ["wiring.py"]


def test_no_file_is_longer_than_400_lines_without_a_reason():
    for folder in (*LAYERS, "tests", "benchmarks"):
        for path in files(folder):
            name = str(path.relative_to(ROOT))
            assert path.read_text().count("\n") <= 400 or name in LONG_WITH_REASON, name


def test_no_module_is_called_utils():
    assert not [path for folder in LAYERS for path in files(folder) if "util" in path.stem or "helper" in path.stem]
