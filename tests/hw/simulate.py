"""Runs one component in Amaranth's simulator."""

import gc
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from amaranth.hdl import Elaboratable, UnusedElaboratable
from amaranth.sim import Simulator

__all__ = ["refusal", "simulate"]

PERIOD = 1e-6


def simulate(component: Elaboratable, bench: Callable[[Any], Coroutine[Any, Any, None]], cycles: int = 100_000) -> None:
    """Run ``bench(context)`` to its end, which must come within ``cycles`` clock cycles."""
    ended = False

    async def watched(ctx: Any) -> None:
        nonlocal ended
        await bench(ctx)
        ended = True

    simulator = Simulator(component)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(watched)
    for _ in range(cycles):
        if ended:
            return
        simulator.advance()
    raise AssertionError(f"the bench has not ended after {cycles} cycles")


def refusal(construct: Callable[[], Elaboratable]) -> str:
    """The message of the `ValueError` with which a component refuses its parameters."""
    with warnings.catch_warnings():
        # The component that was not finished is not used either.
        warnings.simplefilter("ignore", UnusedElaboratable)
        message = ""
        try:
            construct()
        except ValueError as error:
            message = str(error)
        gc.collect()
    return message
