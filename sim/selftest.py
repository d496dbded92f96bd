"""Writes a self-checking cocotb bench beside generated Verilog; it needs cocotb and a simulator, not this package.

    vectors.json         transcripts of random layers: what the host writes, when it waits, what it must read
    test_dorefabric.py   the cocotb tests that play them through the design's own front end
    run_bench.py         builds and runs them: python run_bench.py [verilator|icarus]

The transcripts are recorded from the ordinary driver on the interpreter, so every word that is read back, feature maps
and cycle counters included, was computed without the circuit.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.random_graphs import random_images, random_layer

__all__ = ["record_layers", "write_selftest"]

SOURCES = {"test_dorefabric.py": "selftest_bench.py", "run_bench.py": "selftest_run.py"}


class _Recorder(DeviceModel):
    """A link to the interpreter that notes everything that passes over it."""

    def __init__(self, config: FabricConfig) -> None:
        super().__init__(config)
        self.transcript: list[list[Any]] = []

    def write(self, address: int, words: np.ndarray) -> None:
        super().write(address, words)
        self.transcript.append(["write", address, np.asarray(words, np.uint32).reshape(-1).tolist()])

    def read(self, address: int, count: int) -> np.ndarray:
        words = super().read(address, count)
        self.transcript.append(["read", address, words.tolist()])
        return words

    def wait_idle(self, timeout: float) -> None:
        self.transcript.append(["wait"])


def record_layers(config: FabricConfig, count: int, seed: int, most_bits: int = 8) -> list[dict[str, Any]]:
    """Transcripts of ``count`` random layers of up to ``most_bits`` bits, as far as ``config`` has them."""
    rng = np.random.default_rng(seed)
    cases = []
    for index in range(count):
        weight_bits = int(rng.integers(1, min(config.weight_bits, most_bits) + 1))
        bits = [int(rng.integers(1, min(config.activation_bits, most_bits) + 1)) for _ in range(2)]
        graph = random_layer(rng, weight_bits, bits[0], bits[1], kernel=1 + 2 * (index % 2), stride=1 + index // 2 % 2,
                             padding=index % 2, channels_in=3, channels_out=5, size=(3, 4), pool=False)  # fmt: skip
        recorder = _Recorder(config)
        accelerator = Accelerator(recorder).load(compile_graph(graph, config))
        accelerator.run(random_images(rng, graph, 1))
        accelerator.layer_counters()
        name = f"layer {index}: W{weight_bits}A{bits[0]} to A{bits[1]}"
        cases.append({"name": name, "transcript": recorder.transcript})
    return cases


def write_selftest(config: FabricConfig, directory: str | Path, *, seed: int = 1) -> list[Path]:
    """Write the files named above into ``directory``; returns their paths. Deterministic.

    Designs with a UART get one layer of at most 2 bits, others four of up to 8: a byte on the serial line takes
    hundreds of clock cycles.
    `DorefabricError` when the directory cannot be written.
    """
    directory = Path(directory)
    front = {key: getattr(config, key) for key in ("front", "clock_frequency", "baud_rate")}
    cases = record_layers(config, 1, seed, 2) if config.front == "uart" else record_layers(config, 4, seed)
    texts = {"vectors.json": json.dumps({**front, "cases": cases}) + "\n"}
    texts |= {name: (Path(__file__).parent / source).read_text() for name, source in SOURCES.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DorefabricError(f"cannot write to {directory}: {error.strerror}") from None
    return [directory / name for name in texts]
