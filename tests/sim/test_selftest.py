"""The bench that is written beside generated Verilog runs there without this package, and finds a wrong circuit."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.generate import generate_verilog
from dorefabric.sim.bench import SIMULATORS
from dorefabric.sim.selftest import write_selftest
from dorefabric.sim.tools import missing_for_cocotb


def run(folder, simulator):
    (folder / "dorefabric.py").write_text("raise ImportError('the bench must run without the package')\n")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    del environment["PYTEST_CURRENT_TEST"]  # cocotb's runner would act on it
    return subprocess.run([sys.executable, str(folder / "run_bench.py"), simulator], cwd=folder, check=False, text=True,
                          capture_output=True, env=environment)  # fmt: skip


def simulator():
    for name in reversed(SIMULATORS):
        if not missing_for_cocotb(name):
            return name
    pytest.skip(missing_for_cocotb("verilator"))


@pytest.mark.parametrize("front", ["bus", "axi", "uart"])
def test_bench_passes_on_the_generated_files(small, front, tmp_path):
    config = dataclasses.replace(small, front=front)
    files = generate_verilog(config, tmp_path) + write_selftest(config, tmp_path)
    assert {path.name for path in files} >= {"dorefabric.v", "vectors.json", "test_dorefabric.py", "run_bench.py"}
    done = run(tmp_path, simulator())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 tests, 0 failed" in done.stdout


def test_bench_fails_on_a_wrong_word(small, tmp_path):
    config = dataclasses.replace(small, front="bus")
    generate_verilog(config, tmp_path)
    write_selftest(config, tmp_path)
    vectors = json.loads((tmp_path / "vectors.json").read_text())
    reads = [step for step in vectors["cases"][-1]["transcript"] if step[0] == "read"]
    reads[-1][2][0] ^= 1
    (tmp_path / "vectors.json").write_text(json.dumps(vectors))
    done = run(tmp_path, simulator())
    assert done.returncode == 1
    assert "1 tests, 1 failed" in done.stdout


def test_same_files_every_time(small, tmp_path):
    for name in ("a", "b"):
        write_selftest(small, tmp_path / name)
    for name in ("vectors.json", "test_dorefabric.py", "run_bench.py"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_directory_that_cannot_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DorefabricError, match=rf"^cannot write to {tmp_path}/file: (File exists|Not a directory)$"):
        write_selftest(small, tmp_path / "file")
