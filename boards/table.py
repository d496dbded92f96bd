"""The table of `boards/README.md`, made from build reports.

for b in icebreaker hx8k_evn tang_nano_9k tang_nano_20k arty_a7; do dorefabric build $b -o build/$b; done
python -m dorefabric.boards.table build/*/report.json --update boards/README.md
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dorefabric.hw.errors import DorefabricError

__all__ = ["main", "reported", "table", "update"]

BEGIN, END = "<!-- builds -->", "<!-- end of builds -->"

_HEAD = (
    "board", "device", "array", "lanes", "LUT", "flip-flops", "block RAM", "array alone: LUT, flip-flops a lane",
    "clock MHz", "Fmax MHz", "peak GOPS", "seed", "build s", "date",
)  # fmt: skip


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Markdown of builds, given as `BuildReport.to_dict` values, and a line of the tools that made them."""

    def share(report: dict[str, Any], name: str) -> str:
        used, available = report["used"][name], report["available"][name]
        return f"{used:,g} / {available:,} ({used / available:.0%})"

    def a_lane(report: dict[str, Any]) -> str:
        array = report.get("array")
        if array is None:
            return "–"
        return ", ".join(f"{array[name] / report['lanes']:.2f}" for name in ("lut", "flip_flops"))

    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    tools: dict[str, str] = {}
    for report in sorted(reports, key=lambda report: (report["fmax_mhz"] is None, report["lanes"])):
        config = report["config"]
        fmax = "not routed" if report["fmax_mhz"] is None else f"{report['fmax_mhz']:.1f}"
        cells = (
            report["board"], report["device"], f"{config['rows']} × {config['columns']} × {config['lanes']}",
            f"{report['lanes']:,}", share(report, "lut"), share(report, "flip_flops"), share(report, "block_ram"),
            a_lane(report), f"{report['clock_mhz']:g}", fmax, f"{report['peak_gops']:,.1f}",
            str(report["seed"]), f"{sum(report['seconds'].values()):.0f}", report["date"][:10],
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
        tools |= {version: version for version in report["tools"].values()}
    return "\n".join([*lines, "", f"Tools: {', '.join(sorted(tools))}.", ""])


def reported(run: Callable[[], None]) -> int:
    """Exit status of a command: 0, or 2 after what went wrong in one line."""
    try:
        run()
    except (OSError, ValueError, DorefabricError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def update(path: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put ``text`` between the two marks of the file at ``path``."""
    begin, end_mark = marks
    try:
        before, _, rest = path.read_text().partition(begin)
    except OSError as error:
        raise DorefabricError(f"cannot read {path}: {error.strerror}") from None
    _, end, after = rest.partition(end_mark)
    if not end:
        raise DorefabricError(f"{path} does not have the marks {begin} and {end_mark}")
    path.write_text(f"{before}{begin}\n{text}{end_mark}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Markdown table of build reports.")
    parser.add_argument("reports", nargs="+", type=Path, metavar="report.json")
    parser.add_argument("--update", type=Path, metavar="README.md", help="replace the table in this file")
    args = parser.parse_args(arguments)

    def run() -> None:
        text = table([json.loads(path.read_text()) for path in args.reports])
        if args.update:
            update(args.update, text)
        else:
            print(text)

    return reported(run)


if __name__ == "__main__":
    sys.exit(main())
