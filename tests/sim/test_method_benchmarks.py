"""The comparison of methods on the smallest network, and the overhead of quantized layers."""

from contextlib import contextmanager

import pytest

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.method_benchmarks import ROWS, methods, overhead
from dorefabric.sw.cli import main
from dorefabric.sw.layers import QuantWeight
from dorefabric.sw.model_file import load_model, read_model_file


@contextmanager
def silent(description, total):
    yield lambda done: None


def compare(folder, rows, **options):
    return methods(model="digits", data_dir=None, output=str(folder), epochs=1, seeds=1, rows=rows, simulate=0,
                   seed=0, progress_bar=silent, **options)  # fmt: skip


def test_methods_are_kept_and_taken_up_again(tmp_path):
    first = compare(tmp_path, "float; AQE 2-2")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 2 and [row["name"] for row in first["rows"]] == ["float", "AQE 2-2"]
    assert all(row["accuracies"][0] > 0.2 and row["epochs"] == 1 for row in first["rows"])
    again = compare(tmp_path, "AQE 2-2; float")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert [row["accuracies"] for row in again["rows"]] == [row["accuracies"] for row in reversed(first["rows"])]


def test_report_of_what_is_there(tmp_path, capsys):
    """A row that is not trained yet is shown as such, and nothing is trained."""
    compare(tmp_path, "float; DoReFa 1-2-6")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench methods digits -->\nold\n<!-- end of bench methods digits -->\nafter\n")
    assert main(["bench", "methods", "--model", "digits", "--epochs", "1", "--seeds", "2", "--simulate", "0",
                 "--rows", "float; DoReFa 1-2-6; AQE 1-1", "-o", str(tmp_path), "--report-only",
                 "--update", str(readme)]) == 0  # fmt: skip
    assert len(list(tmp_path.glob("*.pt"))) == 2
    assert "DoReFa 1-2-6 is" in capsys.readouterr().out.replace("\n", " ")
    text = readme.read_text()
    assert "| AQE 1-1 | – | – | 0 | – | – |" in text and "old" not in text and text.endswith("after\n")
    assert ("`dorefabric bench methods --model digits --epochs 1 --seeds 2 --rows 'float; DoReFa 1-2-6; AQE 1-1' "
            "--simulate 0 -o DIR`, seed 0, ") in text


def test_outer_layers_and_float_weights(tmp_path):
    """Rows with other options have files of their own; the float network is the same in both."""
    options = {"first_bits": 8, "last_bits": 8, "from_float": True}
    report = compare(tmp_path, "float; AQE 1-1", **options)
    names = ["digits-dorefa-32-32-32-0.pt", "digits-first8-last8-from-float-aqe-1-1-32-0.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    first, *others, last = (m.weight_bits for m in load_model(tmp_path / names[1]).modules()
                            if isinstance(m, QuantWeight))  # fmt: skip
    assert (first, last) == (8, 8) and set(others) == {1}
    assert read_model_file(tmp_path / names[1])["training"]["config"]["initial"] == names[0]
    again = compare(tmp_path, "float; AQE 1-1", **options)
    assert [row["accuracies"] for row in again["rows"]] == [row["accuracies"] for row in report["rows"]]


def test_float_weights_must_be_there(tmp_path):
    with pytest.raises(DorefabricError, match=r"digits-dorefa-32-32-32-0\.pt does not exist$"):
        compare(tmp_path, "AQE 1-1", from_float=True)


def test_unknown_row(tmp_path):
    with pytest.raises(DorefabricError, match=r"^unknown row 'BNN'; known: float; DoReFa 1-1-32"):
        compare(tmp_path, "BNN")


def test_overhead_is_measured():
    report = overhead(model="digits", repeats=1, seed=0, progress_bar=silent)
    assert set(report["seconds"]) == set(ROWS) - {"MLS <2,1>"}
    assert all(seconds > 0 for seconds in report["seconds"].values())
