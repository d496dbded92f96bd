"""The plot of accuracy against bits: what is in it, and files that are none of it."""

import json

import pytest

from dorefabric.sw.cli import main

ROWS = [
    {"name": "float", "method": "dorefa", "bits": [32, 32, 32], "accuracies": [0.99, 0.992]},
    {"name": "DoReFa 1-2-6", "method": "dorefa", "bits": [1, 2, 6], "accuracies": [0.98, 0.981, 0.985]},
    {"name": "DoReFa 1-2-32", "method": "dorefa", "bits": [1, 2, 32], "accuracies": [0.983]},
    {"name": "AQE 3-3", "method": "aqe", "bits": [3, 3, 32], "accuracies": [0.987]},
    {"name": "MLS <2,1>", "method": "mls", "bits": [32, 32, 32], "accuracies": [0.988]},
]


def test_plot(tmp_path):
    report = tmp_path / "methods.json"
    report.write_text(json.dumps({"summary": "lenet", "rows": ROWS}))
    assert main(["plot", str(report), "-o", str(tmp_path / "plot.svg")]) == 0
    text = (tmp_path / "plot.svg").read_text()
    for label in ("1-2-6", "1-2", "3-3", "DoReFa-Net", "AQE", "float, 99.10 %", "MLS &lt;2,1&gt;, 98.80 %", "lenet"):
        assert f"<!-- {label} -->" in text, label
    assert main(["plot", str(report), "-o", str(tmp_path / "plot.png")]) == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content, message", [
    ("{", "is no report of `dorefabric bench methods --json`"), ('{"rows": [{"name": "a"}]}', "is no report of"),
    (json.dumps({"rows": [ROWS[0] | {"bits": [1, 2]}]}), "is no report of"),
    ('{"rows": []}', "holds no accuracies"), (None, "No such file")])
def test_refusals(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    assert main(["plot", str(tmp_path / "r.json"), "-o", str(tmp_path / "plot.png")]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_unwritable(tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps({"rows": ROWS}))
    for name in ("none/plot.png", "plot.xyz"):
        assert main(["plot", str(tmp_path / "r.json"), "-o", str(tmp_path / name)]) == 2
        assert "cannot write" in capsys.readouterr().err
