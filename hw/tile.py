"""Column tile: the cell that repeats along the array."""

from functools import partial

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import field_widths
from .element import Element
from .element_ice40 import BLOCK_BITS, blocks
from .memory import BlockMemory
from .pipeline import delay
from .shared import place
from .threshold import ThresholdUnit
from .timing import extra_registers, memory_latency
from .twin_memory import TwinMemory

__all__ = ["Tile", "activation_layout", "control_layout", "host_enables", "host_layout"]


def activation_layout(config: FabricConfig) -> data.ArrayLayout:
    """One word of ``lanes`` bits for each row."""
    return data.ArrayLayout(config.lanes, config.rows)


def control_layout(config: FabricConfig) -> data.StructLayout:
    """What tells a tile what to do. Cycles are those of `timing.Pipeline`, for tile 0.

    weight_address : word of the weight memory; cycle ``weight_address``
    enable, clear, double : of the elements; cycle ``accumulate``
    capture : load the drain registers; cycle ``accumulate`` + 1
    first, base, advance : of the threshold units; cycles ``drain``, ``drain`` + 1 and ``drain`` + 3 of a slot
    slot, plane : of a drain; cycle ``drain`` + 1 of a slot
    raw : static while a descriptor runs
    """
    return data.StructLayout(
        {
            "weight_address": config.weight_address_bits,
            "enable": 1,
            "clear": 1,
            "double": 1,
            "capture": 1,
            "first": 1,
            "advance": 1,
            "slot": ceil_log2(config.drain_slots),
            "plane": field_widths(config)["planes"],
            "raw": 1,
            "base": config.threshold_address_bits,
        }
    )


def host_layout(config: FabricConfig) -> data.StructLayout:
    """A word that the host writes into a weight or threshold memory.

    weight, threshold : strobes
    tile : tiles that the write still has to pass: 0 at the tile that it is for
    column : column in the tile
    piece : which 32 bits of the weight word
    address : word or entry
    data : 32 bits
    enables : of the tile's memories, as `host_enables`; only for fast clocks, where they are found a tile before
    """
    fields = {
        "weight": 1,
        "threshold": 1,
        "tile": ceil_log2(config.tiles),
        "column": ceil_log2(config.tile_columns),
        "piece": ceil_log2(config.bus_words),
        "address": max(config.weight_address_bits, config.threshold_address_bits),
        "data": 32,
    }
    if extra_registers(config.technology):
        fields["enables"] = config.tile_columns * config.bus_words + config.tile_columns // config.threshold_columns
    return data.StructLayout(fields)


def host_enables(config: FabricConfig, host: data.View, passes: int) -> list[Value]:
    """Which memories of the tile after ``passes`` more tiles are to be written: those of weights column by column, then
    those of thresholds."""
    shared = config.threshold_columns
    weights = [
        host.weight & (host.column == column) & (host.piece == piece)
        for column in range(config.tile_columns)
        for piece in range(config.bus_words)
    ]
    thresholds = [
        host.threshold & (host.column[ceil_log2(shared) :] == unit) for unit in range(config.tile_columns // shared)
    ]
    return [enable & (host.tile == passes) for enable in weights + thresholds]


class Tile(wiring.Component):
    """``rows`` × ``tile_columns`` processing elements, their weights and threshold units.

    Everything that comes in goes out to the next tile one cycle later, so that tile j does what tile 0 does j cycles
    later. The weight memory gives one word of tile_columns × lanes bits a cycle and is a `BlockMemory` for each
    ``lanes`` or 32 bits of it, whichever is less, which is what the host writes at once.

    Members
    -------
    activations, control, host : In; `activation_layout`, `control_layout`, `host_layout`
    next_activations, next_control, next_host : Out; the same one cycle later, for the next tile
    bits : Out, one code or raw bit per column, of the slot whose ``first`` was at cycle 0 at cycle 4
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        activations, control, host = activation_layout(config), control_layout(config), host_layout(config)
        super().__init__(
            {
                "activations": In(activations),
                "control": In(control),
                "host": In(host),
                "next_activations": Out(activations),
                "next_control": Out(control),
                "next_host": Out(host),
                "bits": Out(config.tile_columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        self._pass_on(m)
        shared = config.threshold_columns
        units = self._threshold_units(m, platform)

        for index in range(config.tile_columns):
            weights = self._weights(m, platform, index)

            which, column = divmod(index, shared)
            for row in range(config.rows):
                element = self._element(m, platform, row, index)
                m.d.comb += [
                    element.activations.eq(self.activations[row]),
                    element.weights.eq(weights),
                    units[which].accumulators[row * shared + column].eq(element.accumulator),
                ]
        return m

    def _element(self, m: Module, platform: object, row: int, column: int) -> Element:
        config, control = self.config, self.control
        # Where a part has blocks for some of the accumulators, the first elements get them.
        number = column * config.rows + row
        in_block = config.tiles == 1 and config.accumulator_bits <= BLOCK_BITS and number < blocks(platform)
        make = partial(Element, lanes=config.lanes, accumulator_bits=config.accumulator_bits,
                       technology=config.technology, in_block=in_block)  # fmt: skip
        element: Element = place(
            m, platform, f"element_{row}_{column}", "element_in_block" if in_block else "element", make
        )
        m.d.comb += [getattr(element, name).eq(control[name]) for name in ("enable", "clear", "double")]
        return element

    def _threshold_units(self, m: Module, platform: object) -> list[ThresholdUnit]:
        """The units with their memories, two of which share a block RAM where that is possible."""
        config, control, word = self.config, self.control, self._host_word
        shared, shared_bits = config.threshold_columns, ceil_log2(config.threshold_columns)
        width, depth, technology = config.threshold_bits, shared * config.threshold_depth, config.technology
        address = Cat(word.column[:shared_bits], word.address[: config.threshold_address_bits])
        units: list[ThresholdUnit] = []
        enables = []
        for index in range(config.tile_columns // shared):
            unit = place(m, platform, f"thresholds_{index}", "thresholds", partial(ThresholdUnit, config))
            m.d.comb += [
                getattr(unit, name).eq(control[name])
                for name in ("capture", "first", "advance", "slot", "plane", "raw", "base")
            ]
            m.d.comb += self.bits[index * shared : (index + 1) * shared].eq(unit.bits)
            # The host writes while nothing runs.
            number = config.tile_columns * config.bus_words + index
            enables.append(self._enable(m, number, f"threshold_write_{index}"))
            units.append(unit)
        twins = TwinMemory.fits(width=width, depth=depth, technology=technology) and len(units) > 1
        for index in range(0, len(units), 2) if twins else ():
            make_twin = partial(TwinMemory, width=width, depth=depth, technology=technology)
            twin = place(m, platform, f"threshold_memory_{index}", "threshold_memory", make_twin)
            m.d.comb += [
                twin.write_enables.eq(Cat(enables[index : index + 2])),
                twin.write_address.eq(address),
                twin.write_data.eq(word.data),
            ]
            for half, unit in enumerate(units[index : index + 2]):
                m.d.comb += [twin.read_addresses[half].eq(unit.address), unit.threshold.eq(twin.read_data[half])]
        for index, unit in enumerate([] if twins else units):
            make_memory = partial(BlockMemory, width=width, depth=depth, exclusive=True)
            memory = place(m, platform, f"threshold_memory_{index}", "threshold_memory", make_memory)
            m.d.comb += [
                memory.write_enable.eq(enables[index]),
                memory.write_address.eq(address),
                memory.write_data.eq(word.data),
                memory.read_address.eq(unit.address),
                unit.threshold.eq(delay(m, memory.read_data, config.threshold_latency - 4, name=f"threshold_{index}")),
            ]
        return units

    def _weights(self, m: Module, platform: object, index: int) -> Signal:
        """The weight word of a column, `memory_latency` cycles after its address."""
        config, control = self.config, self.control
        width = min(32, config.lanes)
        word = Signal(config.lanes, name=f"weights_{index}")
        for piece in range(config.bus_words):
            make_memory = partial(BlockMemory, width=width, depth=config.weight_depth)
            number = index * config.bus_words + piece
            memory = place(m, platform, f"weights_{index}_{piece}", "weight_memory", make_memory)
            m.d.comb += [
                memory.read_address.eq(control.weight_address),
                memory.write_enable.eq(self._enable(m, number, f"weight_write_{index}_{piece}")),
                memory.write_address.eq(self._host_word.address),
                memory.write_data.eq(self._host_word.data),
                word.word_select(piece, width).eq(memory.read_data),
            ]
        return delay(m, word, memory_latency(config.technology) - 1, name=f"weights_{index}_register")

    @property
    def _host_word(self) -> Signal:
        """Address and data of what `_enable` writes: a cycle later where clocks are fast."""
        return self.next_host if extra_registers(self.config.technology) else self.host

    def _enable(self, m: Module, number: int, name: str) -> Value:
        """Whether `_host_word` is to be written into memory ``number`` of `host_enables`."""
        if extra_registers(self.config.technology):
            return delay(m, self.host.enables[number], 1, name=name)
        return host_enables(self.config, self.host, 0)[number]

    def _pass_on(self, m: Module) -> None:
        """Registers towards the next tile."""
        activations = Signal.like(self.activations, reset_less=True)
        control = Signal.like(self.control, reset_less=True)
        host = Signal.like(self.host, reset_less=True)
        m.d.sync += [activations.eq(self.activations), control.eq(self.control), host.eq(self.host)]
        m.d.sync += host.tile.eq(self.host.tile - 1)
        if extra_registers(self.config.technology):
            m.d.sync += host.enables.eq(Cat(host_enables(self.config, self.host, 1)))
        m.d.comb += [
            self.next_activations.eq(activations),
            self.next_control.eq(control),
            self.next_host.eq(host),
        ]
