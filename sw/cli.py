"""The `dorefabric` command: parses the verb, runs it, writes its report, turns errors into one line.

Exit status: 0 success; 1 a check that failed (a difference, timing not met); 2 bad input or a missing tool;
130 interrupted.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from dorefabric.hw.errors import DorefabricError

from .whole_file import whole_file

__all__ = ["VERBS", "CheckFailed", "main"]

VERBS = (
    "demo", "train", "export", "compile", "generate", "simulate", "build", "serve", "run", "flash", "bench", "plot",
    "explore", "boards", "doctor",
)  # fmt: skip


class CheckFailed(Exception):
    """A verb ran to its end and found that something does not hold; the report is still written."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SystemExit(_fail(f"{message} (see `{self.prog} --help`)"))


def _fail(message: str) -> int:
    print(f"dorefabric: error: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dorefabric", description="From a PyTorch model at 1 to 8 bits to a running FPGA.")
    parser.add_argument("--version", action="version", version=_version())
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    for verb in VERBS:
        module = importlib.import_module(f"dorefabric.sw.commands.{verb}")
        sub = verbs.add_parser(
            verb,
            help=str(module.__doc__).splitlines()[0],
            description=module.__doc__,
            epilog=f"example: {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.add_argument("--json", metavar="FILE", help="write a machine-readable report")
        sub.set_defaults(run=module.run)
    return parser


def _version() -> str:
    from importlib.metadata import version

    return version("dorefabric")


def _write_report(path: str | None, report: dict[str, Any]) -> None:
    if path is None:
        return
    with whole_file(path, "the report") as scratch:
        scratch.write_text(json.dumps(report, indent=2, default=_jsonable) + "\n")


def _jsonable(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    args = _parser().parse_args(arguments)
    head = {"verb": args.verb, "version": _version()}
    try:
        status, outcome = _run(args)
        _write_report(args.json, {**head, "ok": status == 0, **outcome})
    except KeyboardInterrupt:
        print("dorefabric: interrupted", file=sys.stderr)
        return 130
    except DorefabricError as error:    # the report cannot be written
        return _fail(str(error))
    return status


def _run(args: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Exit status and report of one verb, whose error, if any, is shown."""
    try:
        return 0, args.run(args)
    except CheckFailed as error:
        print(f"dorefabric: {error}", file=sys.stderr)
        return 1, {"error": str(error), **error.report}
    except (DorefabricError, ModuleNotFoundError) as error:
        message = str(error)
        if isinstance(error, ModuleNotFoundError):
            if str(error.name).startswith("dorefabric"):
                raise
            message = f'this needs the Python package {error.name}; pip install "dorefabric[all]"'
        return _fail(message), {"error": message}


if __name__ == "__main__":
    sys.exit(main())
