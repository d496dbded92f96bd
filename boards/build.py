"""From a board to its bitstream: generate, synthesise, place, route, pack, report."""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ecp5_netlist
from .board import Board
from .estimate import SYNTHESIS, before_synthesis
from .report import BuildReport, Clock, Usage, parse_nextpnr_report, parse_yosys_statistics
from .tools import BuildError, find_tool, run_tool

if TYPE_CHECKING:
    from amaranth.build.run import BuildPlan
    from amaranth.lib.wiring import Component

__all__ = ["BuildError", "Progress", "Step", "TimingError", "build"]

STEPS = ("generate", "synthesis", "place", "route", "pack")


@dataclass(frozen=True)
class Step:
    """What a build is doing: one of `STEPS`, seconds since it began, and the tool's latest line."""

    name: str
    seconds: float
    detail: str = ""


Progress = Callable[[Step], None]


class TimingError(BuildError):
    """The routed design is slower than the board's clock. ``report`` has the numbers; no bitstream is kept."""

    def __init__(self, message: str, report: BuildReport) -> None:
        super().__init__(message)
        self.report = report


def build(
    board: Board,
    directory: str | Path,
    *,
    seed: int = 1,
    tries: int = 5,
    progress: Progress | None = None,
    allow_timing_failure: bool = False,
    keep: bool = False,
    design: "Callable[[], Component] | None" = None,
) -> BuildReport:
    """Build ``board`` into ``directory``: the bitstream, ``report.json`` and ``logs/``.

    Boards of a vendor's tool get ``project/`` (Verilog, constraints, script) and a report counted with yosys.

    Parameters
    ----------
    seed : int
        Of place and route; the same seed, configuration and tools give the same bitstream.
    tries : int
        Seeds from ``seed`` on to go through while nextpnr blocks a net itself, which happens on Gowin devices; the
        report names the one that routed.
    progress : callable, optional
        Called with a `Step` at least twice a second while a tool runs.
    allow_timing_failure : bool
        Keep the bitstream although it is slower than the board's clock.
    keep : bool
        Keep the intermediate files too, in ``work/``.
    design : callable, optional
        Makes what is built instead of the accelerator: ports ``rx`` and ``tx``, like `dorefabric.hw.top.UartTop`.

    Raises
    ------
    BuildError
        A tool is missing or failed; its log stays in ``logs/``.
    TimingError
        Timing is not met and not allowed to fail.

    Everything is made in a temporary folder inside ``directory`` and moved out of it when complete, so that a
    failed or interrupted build leaves no half-written bitstream; an older bitstream there is replaced or kept whole.
    """
    if not 0 <= seed < 1 << 31:
        raise BuildError(f"seed must be from 0 to {(1 << 31) - 1}, not {seed}")
    target = Path(directory)
    try:
        (target / "logs").mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".build-", dir=target)).resolve()
    except OSError as error:
        raise BuildError(f"cannot write to {target}: {error.strerror}") from None
    try:
        run = _Run(board, target, work, seed, tries, progress)
        if board.toolchain == "vendor":
            return run.vendor_project(design)
        report = run.bitstream(design)
        if not report.timing_met and not allow_timing_failure:
            raise TimingError(_timing_message(report), report)
        run.deliver(report)
        return report
    finally:
        if keep:
            shutil.rmtree(target / "work", ignore_errors=True)
            os.replace(work, target / "work")
        else:
            shutil.rmtree(work, ignore_errors=True)


def _timing_message(report: BuildReport) -> str:
    missed = ", ".join(
        f"{clock.name} reaches {clock.achieved:g} of {clock.required:g} MHz" for clock in report.clocks if not clock.met
    )
    return f"{report.board.name}: timing is not met with seed {report.seed}: {missed}; try another seed"


class _Run:
    """One build in progress."""

    def __init__(
        self, board: Board, target: Path, work: Path, seed: int, tries: int, progress: Progress | None
    ) -> None:
        self.board = board
        self.target = target
        self.work = work
        self.seed = seed
        self.last_seed = seed + tries - 1
        self.progress = progress or (lambda step: None)
        self.seconds: dict[str, float] = {}
        self.tools: dict[str, str] = {}
        self._step = ""
        self._started = 0.0
        self._detail = ""

    # Steps and progress -------------------------------------------------------------------------

    def _begin(self, step: str) -> None:
        self._end()
        self._step, self._started, self._detail = step, time.monotonic(), ""
        self._tick()

    def _end(self) -> None:
        if self._step:
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + time.monotonic() - self._started
        self._step = ""

    def _tick(self) -> None:
        self.progress(Step(self._step, time.monotonic() - self._started, self._detail))

    def _run(self, tool_name: str, arguments: list[str], on_line: Callable[[str], None] | None = None) -> Path:
        tool = find_tool(tool_name)
        self.tools[tool_name] = tool.version
        log = self.target / "logs" / f"{tool_name}.log"

        def follow(line: str) -> None:
            self._detail = line
            if on_line:
                on_line(line)

        run_tool(tool, arguments, directory=self.work, log=log, on_line=follow, tick=self._tick)
        return log

    # The parts of a build -----------------------------------------------------------------------

    def _plan(self, design: "Callable[[], Component] | None") -> "BuildPlan":
        """Generate the design and its constraints; returns Amaranth's build plan."""
        from .toplevel import BoardTop

        self._begin("generate")
        if design is None:
            from dorefabric.hw.top import UartTop

            accelerator: Component = UartTop(self.board.config)
        else:
            accelerator = design()
        options: dict[str, Any] = dict(self.board.tool_options)
        if self.board.toolchain == "nextpnr":
            # Timing is judged from the report, so that a miss is reported with its numbers.
            options.setdefault("script_after_read", before_synthesis(self.board.config))
            options["nextpnr_opts"] = " ".join(
                [options.get("nextpnr_opts", ""), "--seed", str(self.seed), "--freq",
                 f"{self.board.clock_hz / 1e6:g}", "--timing-allow-fail", "--report nextpnr.json"]
            ).strip()  # fmt: skip
        platform = self.board.platform()
        # "verbose" only removes the tools' --quiet: their output goes to the log and the progress.
        plan = platform.build(BoardTop(self.board, accelerator), do_build=False, verbose=True, **options)
        plan.extract(str(self.work))
        self.tools["amaranth"] = _amaranth_version()
        return plan

    def bitstream(self, design: "Callable[[], Component] | None") -> BuildReport:
        plan = self._plan(design)
        logs: dict[str, Path] = {}
        array = None
        for command in json.loads(plan.files["build_top.json"])["commands"]:
            tool, *arguments = command
            if tool == "yosys":
                self._begin("synthesis")
                logs[tool] = self._run(tool, arguments)
                if self.board.config.technology == "ecp5":
                    floorplan = self.board.floorplan if design is None else None
                    array = ecp5_netlist.prepare(self.work / "top.json", self.board.device, floorplan)
            elif tool.startswith("nextpnr"):
                logs["nextpnr"] = self._place_and_route(tool, arguments)
            else:
                self._begin("pack")
                logs[tool] = self._run(tool, arguments)
        self._end()
        usage, clocks = parse_nextpnr_report(self.work / "nextpnr.json", logs["nextpnr"], self.board.config.technology)
        _check_constraint(self.board, clocks)
        return self._report(usage, clocks, self.board.bitstream, array if design is None else None)

    def _place_and_route(self, tool: str, arguments: list[str]) -> Path:
        """Run nextpnr with the seed, and again with the next one while it blocks a net itself."""
        position = arguments.index("--seed") + 1
        while True:
            self._begin("place")
            try:
                return self._run(tool, arguments, self._watch_nextpnr)
            except BuildError:
                net = _blocked_net(self.target / "logs" / f"{tool}.log")
                if net is None:
                    raise
                if self.seed >= self.last_seed:
                    raise BuildError(
                        f"{self.board.name}: nextpnr itself blocked the net {net} with seed {self.seed}; "
                        f"try seed {self.seed + 1}"
                    ) from None
            self.seed += 1
            arguments[position] = str(self.seed)

    def _watch_nextpnr(self, line: str) -> None:
        if self._step == "place" and line.startswith(("Info: Routing", "Info: Setting up routing")):
            self._begin("route")

    def vendor_project(self, design: "Callable[[], Component] | None") -> BuildReport:
        """Write the vendor's project and count its cells with yosys."""
        plan = self._plan(design)
        project = self.work / "project"
        project.mkdir()
        for name in plan.files:
            os.replace(self.work / name, project / name)
        self._begin("synthesis")
        technology = self.board.config.technology
        script = f"read_verilog project/top.v; {SYNTHESIS[technology]}; tee -q -o statistics.json stat -json"
        self._run("yosys", ["-p", script])
        self._end()
        usage = parse_yosys_statistics((self.work / "statistics.json").read_text(), technology)
        report = self._report(usage, (), None)
        shutil.rmtree(self.target / "project", ignore_errors=True)
        os.replace(project, self.target / "project")
        self._write_report(report)
        return report

    def _report(
        self, usage: Usage, clocks: tuple[Clock, ...], bitstream: str | None, array: Usage | None = None
    ) -> BuildReport:
        return BuildReport(
            board=self.board, usage=usage, clocks=clocks, seed=self.seed, tools=self.tools, seconds=self.seconds,
            date=datetime.now(UTC).isoformat(timespec="seconds"), bitstream=bitstream, array=array,
        )  # fmt: skip

    def deliver(self, report: BuildReport) -> None:
        """Move the finished files to their places, the report last."""
        bitstream = self.work / self.board.bitstream
        if not bitstream.is_file() or not bitstream.stat().st_size:
            raise BuildError(f"the packer wrote no {self.board.bitstream} (logs: {self.target / 'logs'})")
        os.replace(bitstream, self.target / self.board.bitstream)
        self._write_report(report)

    def _write_report(self, report: BuildReport) -> None:
        file = self.work / "report.json"
        file.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
        os.replace(file, self.target / "report.json")


def _blocked_net(log: Path) -> str | None:
    """The net that nextpnr could not route because it had blocked it itself; None: there was no such net.

    Before routing, nextpnr lays nets of many far sinks on the long wires of a Gowin device, by way of a net of its own
    for the wires from the source. When it finds no way to one of the long wires, it leaves that net and with it the
    source's wire bound: the net in the design can then not be routed at all. Another placement has other such nets.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    blocked = set(re.findall(r"Failed to route net '(.+)\$gate_net\$' from .* using dedicated routing", text))
    failed = re.search(r"Failed to find a route for arc \d+ of net (.+)\.$", text, re.MULTILINE)
    return failed[1] if failed and failed[1] in blocked else None


def _check_constraint(board: Board, clocks: tuple[Clock, ...]) -> None:
    """Refuse a report that does not judge the circuit's clock: it would pass whatever the design."""
    required = board.clock_hz / 1e6
    if not any(abs(clock.required - required) < 0.01 * required for clock in clocks):
        seen = ", ".join(f"{clock.name} at {clock.required:g} MHz" for clock in clocks) or "no clock"
        raise BuildError(f"{board.name}: nextpnr did not judge the {required:g} MHz clock, but {seen}")


def _amaranth_version() -> str:
    from importlib.metadata import version

    return f"amaranth {version('amaranth')}"
