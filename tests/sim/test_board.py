"""The simulated board: line, pins and pseudo-terminal with an echo, then the whole design with the ordinary driver."""

import os
import time

import numpy as np
import pytest
import serial
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.registers import MAGIC, address
from dorefabric.hw.uart import UARTReceiver, UARTTransmitter
from dorefabric.sim.board import LineErrors, SimulatedBoard
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.link import LinkError
from dorefabric.sw.random_graphs import random_images, random_network
from dorefabric.sw.reference import evaluate
from dorefabric.sw.serial_link import SerialLink

CONFIG = FabricConfig(clock_frequency=12_000_000, baud_rate=1_843_200)  # 6.51 cycles a bit
DATA = bytes(range(256)) * 4


class Echo(wiring.Component):
    """Received characters are sent back."""

    def __init__(self) -> None:
        super().__init__({"rx": In(1), "tx": Out(1), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UARTReceiver(CONFIG.clock_frequency, CONFIG.baud_rate)
        m.submodules.transmitter = transmitter = UARTTransmitter(CONFIG.clock_frequency, CONFIG.baud_rate)
        connect(m, receiver.o, transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        return m


@pytest.fixture(scope="module")
def echo():
    return verilog.convert(Echo(), name="top")


def exchange(port, data, expected):
    """Send ``data`` and receive ``expected`` bytes, or what comes within a second of silence."""
    received = bytearray()
    with serial.Serial(port, 115_200, timeout=1) as line:
        line.reset_input_buffer()
        for start in range(0, len(data), 256):
            line.write(data[start : start + 256])
            received += line.read(min(256, expected - len(received)))
        while len(received) < expected and (more := line.read(expected - len(received))):
            received += more
    return bytes(received)


def test_bytes_pass_through_the_pins_and_back(echo):
    with SimulatedBoard(CONFIG, verilog=echo) as board:
        assert exchange(board.port, DATA, len(DATA)) == DATA
        assert exchange(board.port, DATA[::-1], len(DATA)) == DATA[::-1]  # the port may be opened again
        assert (board.to_board.passed, board.from_board.passed) == (2 * len(DATA), 2 * len(DATA))
        assert (board.to_board.errors, board.from_board.errors) == (0, 0)
        port = board.port
    assert not os.path.exists(port)
    assert board.port == ""
    board.close()


def test_line_errors_are_repeatable(echo):
    received = []
    for _ in range(2):
        with SimulatedBoard(CONFIG, error_rate=0.02, seed=5, verilog=echo) as board:
            received.append(exchange(board.port, DATA, 2 * len(DATA)))
            counts = (board.to_board.errors, board.from_board.errors)
    assert received[0] == received[1] != DATA
    to_board, from_board = LineErrors(0.02, 10), LineErrors(0.02, 11)
    assert from_board(to_board(DATA)) == received[0]
    assert counts == (to_board.errors, from_board.errors)
    assert min(counts) > 0


def test_an_idle_board_costs_nothing(echo):
    with SimulatedBoard(CONFIG, verilog=echo) as board:
        exchange(board.port, b"x", 1)
        time.sleep(0.2)
        before = _processor_seconds(board)
        time.sleep(0.5)
        assert _processor_seconds(board) - before <= 0.02


def _processor_seconds(board):
    if not os.path.exists("/proc/self/stat"):
        pytest.skip("no /proc here to read a process's time from")
    with open(f"/proc/{board._process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_line_errors_are_of_all_kinds():
    damage = LineErrors(1.0 - 1e-9, seed=1)
    outcomes = [damage(b"\x55") for _ in range(300)]
    dropped, doubled = outcomes.count(b""), outcomes.count(b"\x55\x55")
    flipped = [value for value in outcomes if len(value) == 1]
    assert all((value[0] ^ 0x55).bit_count() == 1 for value in flipped)
    assert min(dropped, doubled, len(flipped)) > 60
    assert dropped + doubled + len(flipped) == damage.errors == 300


def test_error_rate_is_checked(echo):
    with pytest.raises(ValueError, match=r"^error_rate must be from 0 to below 1, not 1\.5$"):
        SimulatedBoard(CONFIG, error_rate=1.5, verilog=echo)


@pytest.mark.parametrize("error_rate", [0.0, 0.003])
def test_a_network_through_the_serial_port(small, error_rate):
    rng = np.random.default_rng(31)
    network = random_network(rng, weight_bits=1, activation_bits=2, input_bits=2, blocks=1, size=5, channels=4)
    images = random_images(rng, network, 2)
    with SimulatedBoard(small, error_rate=error_rate, seed=1) as board:
        link = SerialLink(board.port, small.baud_rate)
        try:
            result = Accelerator(link).load(compile_graph(network, small)).run(images)
        finally:
            link.close()
        errors = board.to_board.errors + board.from_board.errors
    assert np.array_equal(result, evaluate(network, images)[network.output.name])
    assert (errors > 10) == (error_rate > 0)


def test_a_board_that_goes_away(small):
    with SimulatedBoard(small) as board:
        link = SerialLink(board.port, small.baud_rate)
        assert link.read(address("registers"), 1)[0] == MAGIC
        board.close()
        with pytest.raises(LinkError):
            link.read(address("registers"), 1)
        link.close()


def test_wait_reports_a_simulator_that_stopped(echo):
    with SimulatedBoard(CONFIG, verilog=echo) as board:
        board._process.kill()
        with pytest.raises(LinkError, match=r"^the simulated board stopped: exit status -9$"):
            board.wait()
