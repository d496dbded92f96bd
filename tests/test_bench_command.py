"""`dorefabric bench`: what each figure is called with, what is refused, and the command line that repeats it."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from dorefabric.boards import get_board
from dorefabric.hw.config import FabricConfig
from dorefabric.sw.cli import main
from dorefabric.sw.commands.figures import FIGURES

# Of every figure: where its function is, options, some of what it must be called with, and the command that repeats it.
CALLS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "layers": ("benchmarks", "--count 7", {"count": 7, "seed": 3}, "--count 7"),
    "networks": ("networks", "--board icebreaker --simulate",
                 {"chosen": get_board("icebreaker").config, "simulate": True, "seed": 3},
                 "--board icebreaker --simulate"),
    "cnv": ("benchmarks", "--bits 2,3,4", {"bits": (2, 3), "config": get_board("ulx3s_85f").config, "seed": 3},
            "--bits 2,3,4 --board ulx3s_85f"),
    "mnist": ("dataset_benchmarks", "--data-dir /d -o /x/net.pt --simulate 4",
              {"model": "lenet", "bits": (1, 2), "data_dir": "/d", "simulate": 4, "output": "/x/net.pt", "seed": 3},
              "--model lenet --bits 1,2 --data-dir DIR --board ulx3s_85f --simulate 4 -o net.pt"),
    "link": ("benchmarks", "--error-rate 0.5 --images 2",
             {"config": get_board("icebreaker").config, "error_rate": 0.5, "images": 2, "seed": 3},
             "--board icebreaker --error-rate 0.5 --images 2"),
    "cifar": ("dataset_benchmarks", "/x/net.pt --data-dir /d",
              {"checkpoint": "/x/net.pt", "data_dir": "/d", "simulate": 10},
              "net.pt --data-dir DIR --board icebreaker --simulate 10"),
    "gates": ("benchmarks", "--board hx8k_evn",
              {"config": get_board("hx8k_evn").config, "device": get_board("hx8k_evn").device, "seed": 3},
              "--board hx8k_evn"),
    "methods": ("method_benchmarks", "--rows a;b --simulate 0 -o /x --report-only",
                {"model": "lenet", "epochs": None, "rows": "a;b", "simulate": 0, "output": "/x", "report_only": True},
                "--model lenet --seeds 3 --rows 'a;b' --simulate 0 -o DIR"),
    "overhead": ("method_benchmarks", "", {"model": "lenet", "repeats": 20, "seed": 3}, "--model lenet --repeats 20"),
    "training": ("training_benchmark", "--bits 1,2,3 2,2,4 --float-ends --steps 2",
                 {"model": "digits", "bits": [(1, 2, 3), (2, 2, 4)], "steps": 2, "batch": 32, "float_ends": True,
                  "learning_rate": 0.003, "engine": "verilator", "data_dir": None},
                 "--model digits --method dorefa --bits 1,2,3 2,2,4 --steps 2 --batch 32 --engine verilator "
                 "--float-ends --learning-rate 0.003"),
}  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_what_a_figure_is_called_with(figure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    module_name, options, wanted, repeated = CALLS[figure.name]
    module = importlib.import_module(f"dorefabric.sim.{module_name}")
    signature = inspect.signature(getattr(module, figure.name))
    calls: list[dict[str, Any]] = []

    def called(*args: Any, **kwargs: Any) -> dict[str, Any]:
        calls.append(signature.bind(*args, **kwargs).arguments)
        return {"summary": "measured", "differences": 0, "tables": [("Title", ["a"], [["1"]])]}

    monkeypatch.setattr(module, figure.name, called)
    readme = tmp_path / "README.md"
    readme.write_text(f"<!-- bench {figure.name} -->\n<!-- end of bench {figure.name} -->\n")
    assert main(["bench", figure.name, *options.split(), "--seed", "3", "--update", str(readme)]) == 0
    assert wanted.items() <= calls[0].items()
    text = f"`dorefabric bench {figure.name} {repeated}`, seed 3, "
    assert text in readme.read_text()
    assert "measured" in capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        status = main(["bench", *arguments])
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    assert status == 2
    return capsys.readouterr().err.removeprefix("dorefabric: error: ").rstrip("\n")


@pytest.mark.parametrize("arguments, message", [
    ("layers --count 0", "argument --count: must be a whole number of at least 1, not '0'"),
    ("layers --count 1.5", "argument --count: must be a whole number of at least 1, not '1.5'"),
    ("methods -o x --simulate -1", "argument --simulate: must be a whole number of at least 0, not '-1'"),
    ("link --error-rate 1", "argument --error-rate: must be from 0 to below 1, not '1'"),
    ("link --error-rate x", "argument --error-rate: must be from 0 to below 1, not 'x'"),
])  # fmt: skip
def test_numbers_are_checked(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, *arguments.split()).startswith(message)


@pytest.mark.parametrize("figure", ["networks", "training"])
def test_one_configuration(figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.toml"
    path.write_text(FabricConfig().to_toml())
    assert refusal(capsys, figure, "--board", "icebreaker", "--config", str(path)) == (
        "name one of --board and --config, not both"
    )


def test_a_readme_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before hours of measuring."""
    path = tmp_path / "README.md"
    assert refusal(capsys, "layers", "--update", str(path)) == f"--update: {path} is no file that can be written"
