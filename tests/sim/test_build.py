"""The cache and the builds in it: one result a content, whole or not at all."""

import signal
import subprocess
import sys

import pytest

from dorefabric.sim.build import build_simulator
from dorefabric.sim.cache import cache_folder, cached, digest
from dorefabric.sim.tools import ToolError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DOREFABRIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_folder_by_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("DOREFABRIC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dorefabric"


def test_made_once(cache):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "x").write_text("1")

    entry, hit = cached("kind", "key", make)
    assert (entry, hit, (entry / "x").read_text()) == (cache / "kind" / "key", False, "1")
    assert cached("kind", "key", make) == (entry, True)
    assert len(made) == 1


def test_failure_leaves_nothing(cache):
    def make(folder):
        (folder / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("kind", "key", make)
    assert [path.name for path in (cache / "kind").iterdir()] == ["key.lock"]


WORKER = """
import os, time
from dorefabric.sim.cache import cached

def slow(folder):
    time.sleep(0.5)
    (folder / str(os.getpid())).write_text("")

print(cached("kind", "key", slow)[1])
"""


def test_concurrent_makers_share_one_result(cache):
    command = [sys.executable, "-c", WORKER]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    hits = sorted(worker.communicate(timeout=60)[0].strip() for worker in workers)
    assert hits == ["False", "True", "True"]
    assert len(list((cache / "kind" / "key").iterdir())) == 1


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DOREFABRIC_CACHE", str(tmp_path / "file"))
    with pytest.raises(ToolError, match=rf"^cannot write the cache {tmp_path}/file/kind: .*; set DOREFABRIC_CACHE$"):
        cached("kind", "key", lambda folder: None)


def test_boundaries_count():
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["ab", b"c"]) == digest([b"ab", "c"])


def test_design_that_does_not_compile(cache):
    with pytest.raises(ToolError, match=r"^Verilator failed: %Error.*syntax error"):
        build_simulator("module top(; endmodule", "bus")
    assert not [path for path in (cache / "simulators").iterdir() if path.suffix != ".lock"]


def test_jobs_are_checked(bus_memory, monkeypatch):
    monkeypatch.setenv("DOREFABRIC_JOBS", "many")
    with pytest.raises(ToolError, match=r"^DOREFABRIC_JOBS must be a positive integer, not 'many'$"):
        build_simulator(bus_memory.verilog, "bus")


def test_interrupted_build_leaves_nothing(cache, bus_memory, tmp_path):
    (tmp_path / "top.v").write_text(bus_memory.verilog)
    code = (
        # A process that a shell started in the background ignores the signal unless it says otherwise.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from dorefabric.sim.build import build_simulator;"
        "build_simulator(open(sys.argv[1]).read(), 'bus', progress=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "top.v")], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    left = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []
