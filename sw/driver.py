"""The host's side of a circuit: load a program, run images, read counters. One driver over any `Link`."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dorefabric.hw.config import ISA_VERSION
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.isa import COUNTER_WORDS, DESCRIPTOR_WORDS
from dorefabric.hw.registers import MAGIC, OFFSET_BITS, REGISTERS, SPACES, address

from .link import Link, LinkError
from .program import LayerInfo, Program, Step, Stored

__all__ = ["Accelerator"]

_INDEX = {register.name: register.index for register in REGISTERS}
_START, _SINGLE = 1, 2
_CHUNK = 16
"""Images packed at once."""


class Accelerator:
    """A circuit at the other end of a link.

    The constructor reads the circuit's identity: `LinkError` when what answers is no dorefabric circuit, or one with
    another version of the instruction set.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._program: Program | None = None
        self._counters: dict[int, np.ndarray] = {}
        self._busy: list[int] = []
        self._seconds: dict[str, float] = defaultdict(float)
        magic, version, fingerprint, shape = (int(word) for word in link.read(address("registers"), 4))
        if magic != MAGIC:
            raise LinkError(
                f"what answers is no dorefabric circuit: its magic word is 0x{magic:08x}, not 0x{MAGIC:08x}"
            )
        if version != ISA_VERSION:
            raise LinkError(
                f"the circuit has instruction set version {version}, this software has {ISA_VERSION}: "
                f"build the circuit and install dorefabric from the same release"
            )
        self.fingerprint = fingerprint
        self.shape = (shape & 0xFF, shape >> 8 & 0xFF, shape >> 16)

    def load(self, program: Program) -> "Accelerator":
        """Write the program's resident memories. `ProgramError` when it is for another configuration."""
        rows, columns, lanes = self.shape
        program.check_config(self.fingerprint, f"the circuit ({rows} × {columns} × {lanes})")
        for write in program.resident:
            self._link.write(write.address, write.words)
        self._program = program
        self._counters, self._busy = {}, []
        return self

    def run(self, images: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Results of a batch: int64 (N, C, H, W), from integers (N, C, H, W).

        ``progress`` is called with the number of images done. `InputError` for images of the wrong shape, type or
        range; `LinkError` when the circuit stops answering.
        """
        results, _ = self._run(images, progress, trace=False)
        return results

    def trace(
        self, images: np.ndarray, progress: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As `run`, descriptor by descriptor: also every layer's tensor, int64 (N, C, H, W) by graph edge."""
        return self._run(images, progress, trace=True)

    def execute(self, descriptor: int, cycles: int) -> None:
        """Run the chain of descriptors at a program address, whoever wrote it, to its end.

        ``cycles`` are those that the cycle model predicts: `LinkError` where it takes far longer.
        """
        with self._timed("link"):
            self._link.write(address("registers", _INDEX["descriptor"]), np.array([descriptor], np.uint32))
        self._start(_START, cycles)

    def layer_counters(self) -> list[dict[str, Any]]:
        """Steps, stalls, cycles and useful share of the peak of every layer, as counted for the latest image."""
        program = self._loaded()
        for number, step in enumerate(program.steps):
            if number not in self._counters and not _brings_program(program):
                self._counters[number] = self._read_counters(step)
        if not all(counted[:, COUNTER_WORDS["completed"]].all() for counted in self._counters.values()) or (
            len(self._counters) < len(program.steps)
        ):
            raise DorefabricError("no image has been run yet, so there are no counters")
        rows = []
        for layer in program.layers:
            words = np.array([self._counters[step][position] for step, position in layer.descriptors], np.int64)
            sums = {name: int(words[:, COUNTER_WORDS[name]].sum()) for name in ("steps", "stalls", "cycles")}
            rows.append(program.counters(layer, **sums))
        return rows

    def busy_cycles(self) -> int:
        """Clock cycles for which the circuit was busy with the latest image: what the layers count, and more.

        Where it was traced, in pieces, what lies between the layers is the cycle model's.
        """
        if self._busy:
            return sum(self._busy)
        program = self._loaded()
        counted = sum(row["cycles"] for row in self.layer_counters())
        return program.report()["cycles"] + counted - sum(layer.cycles for layer in program.layers)

    def throughput_test(self, count: int) -> dict[str, Any]:
        """Run ``count`` random images. Seconds in total and spent in each phase, images per second, cycles an image."""
        program = self._loaded()
        if count < 1:
            raise DorefabricError(f"count must be at least 1, not {count}")
        shape = (count, *program.input_shape)
        images = np.random.default_rng(0).integers(0, 1 << program.input_bits, shape, dtype=np.uint8)
        self._seconds.clear()
        started = time.perf_counter()
        self.run(images)
        seconds = time.perf_counter() - started
        cycles = self.busy_cycles()
        phases = {name: self._seconds[name] for name in ("pack", "link", "compute", "unpack")}
        return {
            "images": count, "seconds": seconds, **phases, "images_per_second": count / seconds, "cycles": cycles,
        }  # fmt: skip

    # One batch ----------------------------------------------------------------------------------

    def _run(
        self, images: np.ndarray, progress: Callable[[int], None] | None, trace: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        program = self._loaded()
        program.check_input(images)
        self._counters, self._busy = {}, []
        results = np.zeros((len(images), *program.output.shape), np.int64)
        traced = [layer for layer in program.layers if trace and layer.edge is not None]
        tensors = {layer.edge: np.zeros((len(images), *layer.stored.shape), np.int64) for layer in traced}
        for first in range(0, len(images), _CHUNK):
            part = images[first : first + _CHUNK].astype(np.uint8)
            with self._timed("pack"):
                loads = [_pack(program, step, part) for step in program.steps]
            for offset in range(len(part)):
                index = first + offset
                last = index == len(images) - 1
                for number, step in enumerate(program.steps):
                    self._prepare(program, step, loads[number], offset)
                    self._compute(program, number, step, {layer.edge: tensors[layer.edge][index] for layer in traced})
                    if last and _brings_program(program):
                        self._counters[number] = self._read_counters(step)
                    if last and not trace:
                        self._busy.append(int(self._link.read(address("registers", _INDEX["cycles"]), 1)[0]))
                results[index] = self._fetch(program.output)
                if progress is not None:
                    progress(index + 1)
        return results, {edge: tensor for edge, tensor in tensors.items() if edge is not None}

    def _prepare(self, program: Program, step: Step, load: np.ndarray | None, image: int) -> None:
        """Everything that the host writes before the step's descriptors run."""
        with self._timed("link"):
            for write in step.writes:
                self._link.write(write.address, write.words)
            if step.load is not None and load is not None:
                layout = program.forms[step.load.form].layout
                offset = layout.base * layout.bank_pitch * program.config.bus_words
                self._link.write(address("features", offset), load[image])

    def _compute(self, program: Program, number: int, step: Step, tensors: dict[str | None, np.ndarray]) -> None:
        """Run the step's descriptors: at once, or one by one when a tensor of ``tensors`` has to be read between."""
        ends = {layer.descriptors[-1]: layer for layer in program.layers}
        cycles = sum(layer.cycles for layer in program.layers)
        if not tensors:
            self.execute(step.descriptor, cycles)
            return
        with self._timed("link"):
            self._link.write(address("registers", _INDEX["descriptor"]), np.array([step.descriptor], np.uint32))
        for position in range(step.count):
            self._start(_START | _SINGLE, cycles)
            layer: LayerInfo | None = ends.get((number, position))
            if layer is not None and layer.edge in tensors:
                tensors[layer.edge][:] = self._fetch(layer.stored)

    def _start(self, command: int, cycles: int) -> None:
        # Generous, because a simulated circuit may do as little as ten thousand cycles a second.
        timeout = 10.0 + cycles / 10_000
        with self._timed("compute"):
            self._link.write(address("registers", _INDEX["control"]), np.array([command], np.uint32))
            self._link.wait_idle(timeout)

    def _fetch(self, stored: Stored) -> np.ndarray:
        """A tensor (C, H, W) from the feature memory."""
        layout = stored.layout
        words_per_address = layout.bank_pitch * self._loaded().config.bus_words
        with self._timed("link"):
            words = self._link.read(address("features", layout.base * words_per_address),
                                    layout.size * words_per_address)  # fmt: skip
        with self._timed("unpack"):
            return stored.decode(words[None])[0]

    def _read_counters(self, step: Step) -> np.ndarray:
        """Descriptors of a step as they are in the program memory: (descriptors, words)."""
        words = self._link.read(address("program", step.descriptor), step.count * DESCRIPTOR_WORDS)
        return words.reshape(step.count, DESCRIPTOR_WORDS)

    def _loaded(self) -> Program:
        if self._program is None:
            raise DorefabricError("no program is loaded: call load(program) first")
        return self._program

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] += time.perf_counter() - started


def _pack(program: Program, step: Step, images: np.ndarray) -> np.ndarray | None:
    if step.load is None:
        return None
    return program.forms[step.load.form].pack(images, step.load.first_row, step.load.rows)


def _brings_program(program: Program) -> bool:
    """Whether steps write the program memory, and with it the counters of earlier steps."""
    return any(write.address >> OFFSET_BITS == SPACES["program"] for step in program.steps for write in step.writes)

