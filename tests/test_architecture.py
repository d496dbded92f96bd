"""Dependencies between the packages point one way, and only the right modules import heavy packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hw", "sw", "sim", "boards")

# The plain-data modules of hw that the compiler and the driver may use.
PLAIN = {"config", "errors", "frames", "isa", "layout", "registers", "timing"}
ALLOWED = {"hw": {"hw"}, "sw": {"hw", "sw"}, "sim": {"hw", "sw", "sim"}, "boards": {"hw", "boards"}}


def imports(path: Path) -> list[str]:
    """Absolute names of all modules that a file imports, at any depth."""
    package = ("dorefabric", *path.relative_to(ROOT).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    is_command_line = path.relative_to(ROOT).parts[:2] in (("sw", "cli.py"), ("sw", "commands"))
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in PACKAGES, f"{name}: import it as dorefabric.{name}"
        if parts[0] != "dorefabric" or len(parts) < 2 or is_command_line:
            continue
        assert parts[1] in ALLOWED[package], f"{path}: {package} must not import {name}"
        if package == "sw" and parts[1] == "hw":
            assert parts[2] in PLAIN, f"{path}: sw must not import gateware ({name})"
        if package == "hw" and path.stem in PLAIN and parts[1] == "hw":
            assert parts[2] in PLAIN, f"{path}: a plain-data module must not import gateware ({name})"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_amaranth_stays_out_of_the_host_side(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "sw" or (path.parent.name == "hw" and path.stem in PLAIN):
        assert not [name for name in imports(path) if name.split(".")[0] == "amaranth"]


def test_top_level_has_no_other_folder() -> None:
    import subprocess

    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listing.stdout.splitlines() if not line.startswith(".")}
    assert top <= {
        "hw", "sw", "sim", "tests", "boards", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md",
        "constraints.txt",
    }  # fmt: skip
