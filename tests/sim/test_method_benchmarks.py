"""The comparison of methods on the smallest network, and the overhead of quantized layers."""

from contextlib import contextmanager

import pytest

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.method_benchmarks import ROWS, methods, overhead


@contextmanager
def silent(description, total):
    yield lambda done: None


def compare(folder, rows):
    return methods(model="digits", data_dir=None, output=str(folder), epochs=1, seeds=1, rows=rows, simulate=0,
                   seed=0, progress_bar=silent)  # fmt: skip


def test_methods_are_kept_and_taken_up_again(tmp_path):
    first = compare(tmp_path, "float; AQE 2-2")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 2 and [row["name"] for row in first["rows"]] == ["float", "AQE 2-2"]
    assert all(row["accuracies"][0] > 0.2 and row["epochs"] == 1 for row in first["rows"])
    again = compare(tmp_path, "AQE 2-2; float")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert [row["accuracies"] for row in again["rows"]] == [row["accuracies"] for row in reversed(first["rows"])]


def test_unknown_row(tmp_path):
    with pytest.raises(DorefabricError, match=r"^unknown row 'BNN'; known: float; DoReFa 1-1-32"):
        compare(tmp_path, "BNN")


def test_overhead_is_measured():
    report = overhead(model="digits", repeats=1, seed=0, progress_bar=silent)
    assert set(report["seconds"]) == set(ROWS) - {"MLS <2,1>"}
    assert all(seconds > 0 for seconds in report["seconds"].values())
