"""Every board's data, without any toolchain."""

import dataclasses
from fractions import Fraction

import pytest

from dorefabric.boards import BOARDS, Board, BoardError, get_board
from dorefabric.boards.clocking import Ice40Pll
from dorefabric.hw.config import FabricConfig
from dorefabric.hw.memory import SPRAM_DEPTH, SPRAM_MINIMUM_DEPTH
from dorefabric.hw.twin_memory import TwinMemory

amaranth_boards = pytest.importorskip("amaranth_boards")

REQUIRED_LANES = {
    "icebreaker": 512, "hx8k_evn": 512, "ulx3s_85f": 24_576, "tang_nano_9k": 1536, "tang_nano_20k": 1024,
    "arty_a7": 4096,
    "ulx3s_12f": 2048, "ulx3s_25f": 4096, "ulx3s_45f": 8192,
}  # fmt: skip

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))


def test_every_board_has_a_required_size():
    assert set(BOARDS) == set(REQUIRED_LANES)


@every_board
def test_name_and_configuration(board: Board):
    assert BOARDS[board.name] is board is get_board(board.name)
    assert board.config.name == board.name
    assert board.config.front == "uart"
    assert board.config.total_lanes >= REQUIRED_LANES[board.name]
    assert FabricConfig.from_dict(board.config.to_dict()) == board.config


@every_board
def test_clock(board: Board):
    assert board.clock_hz == board.config.clock_frequency
    if board.pll is not None:
        assert board.pll.input_hz == board.input_hz
        exact = {"ulx3s_12f": Fraction(400_000_000, 3), "ulx3s_85f": Fraction(400_000_000, 3)}
        assert board.pll.output_hz == exact.get(board.name, board.clock_hz)


@every_board
def test_link_rate(board: Board):
    """At least four clock cycles a bit, and a rate that USB bridges divide their 12, 24 or 48 MHz down to."""
    assert board.clock_hz >= 4 * board.config.baud_rate
    assert 12_000_000 % board.config.baud_rate == 0


@every_board
def test_pins_exist(board: Board):
    platform = board.platform()
    assert platform.lookup(board.clock).clock.frequency == board.input_hz
    uart = platform.lookup(*board.uart)
    assert {"rx", "tx"} <= {part.name for part in uart.ios}
    for index in range(board.leds):
        platform.lookup("led", index)
    for resource, subsignal in board.tie_high:
        assert subsignal in {part.name for part in platform.lookup(resource).ios}


def memory_blocks(width: int, depth: int, shapes: list[tuple[int, int]]) -> int:
    """Blocks for a memory, when a block may have any of ``shapes`` (width, depth)."""
    return min(-(-width // w) * -(-depth // d) for w, d in shapes)


SHAPES = {
    "ice40": [(16, 256), (8, 512), (4, 1024), (2, 2048)],
    "ecp5": [(36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)],
    "gowin": [(36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)],
    "xilinx": [(36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)],  # half a RAMB36E1
}


@every_board
def test_memories_fit(board: Board):
    """The configuration's memories need no more blocks than the device has: a bound from below."""
    config = board.config
    shapes = SHAPES[config.technology]
    units = config.columns // config.threshold_columns
    thresholds = config.threshold_columns * config.threshold_depth
    if TwinMemory.fits(width=config.threshold_bits, depth=thresholds, technology=config.technology):
        units, thresholds = -(-units // 2), 2 * thresholds
    blocks = (
        config.columns * memory_blocks(config.lanes, config.weight_depth, shapes)
        + memory_blocks(32, config.program_depth, shapes)
        + memory_blocks(32, config.tap_depth, shapes)
    )
    # Memories of one port may lie in the four single-port RAMs of 16 bits that an UltraPlus has.
    single_port = 0
    if board.device.startswith("iCE40UP") and config.feature_ports == 1:
        assert SPRAM_MINIMUM_DEPTH <= config.feature_depth <= SPRAM_DEPTH
        single_port += config.rows * -(-config.lanes // 16)
    else:
        blocks += config.rows * memory_blocks(config.lanes, config.feature_depth, shapes)
    if board.device.startswith("iCE40UP") and SPRAM_MINIMUM_DEPTH <= thresholds <= SPRAM_DEPTH:
        single_port += units * -(-config.threshold_bits // 16)
    else:
        blocks += units * memory_blocks(config.threshold_bits, thresholds, shapes)
    assert single_port <= 4
    if config.technology == "xilinx":
        blocks /= 2
    assert blocks <= board.resources.block_ram


def test_unknown_board():
    with pytest.raises(BoardError) as caught:
        get_board("spartan")
    assert str(caught.value) == (
        "unknown board 'spartan'; supported boards: "
        "arty_a7, hx8k_evn, icebreaker, tang_nano_20k, tang_nano_9k, ulx3s_12f, ulx3s_25f, ulx3s_45f, ulx3s_85f"
    )


def test_contradictions_are_refused():
    board = get_board("icebreaker")
    faster = Ice40Pll.solve(12_000_000, 48_000_000)
    with pytest.raises(BoardError) as caught:
        dataclasses.replace(board, pll=faster)
    assert str(caught.value) == (
        f"board icebreaker: the clock is 48000000 Hz, the configuration says {board.config.clock_frequency} Hz"
    )
    with pytest.raises(BoardError) as caught:
        dataclasses.replace(board, input_hz=16_000_000)
    assert str(caught.value) == ("board icebreaker: the PLL expects 12000000 Hz, the input clock is 16000000 Hz")
    with pytest.raises(BoardError) as caught:
        dataclasses.replace(board, toolchain="diamond")
    assert str(caught.value) == "board icebreaker: toolchain must be nextpnr or vendor, not 'diamond'"
    with pytest.raises(BoardError) as caught:
        dataclasses.replace(board, gated_clock=True)
    assert str(caught.value) == "board icebreaker: gated_clock needs the phase-locked loop of an ECP5"
