"""Sequencer: registers, descriptor fetch, the run of a chain of descriptors, counters."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import COUNTS, block_layout, descriptor_layout
from .host import ACCESS_LAYOUT
from .isa import BLOCK_WORDS, DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS
from .memory import BlockMemory
from .pipeline import delay
from .registers import REGISTERS, SCRATCH_BITS, constants
from .timing import LOOP_COUNTS, program_latency, store_cycles

__all__ = ["Sequencer"]

_INDEX = {register.name: register.index for register in REGISTERS}
_PARAMETER_WORDS = min(BLOCK_WORDS.values())


class Sequencer(wiring.Component):
    """Runs descriptors, one after the other: fetch, prepare, run, write the counters back.

    ========  =====================  =========================================================================
    state     cycles                 what happens
    ========  =====================  =========================================================================
    fetch     `timing.fetch_cycles`  the words of the descriptor are read, the last two by
    copy      `timing.copy_cycles`   which blocks of the feature memory are copied; a loop count of 0 ends it here
    prepare   planes                 the writer finds the address of the first plane
    run       (the layer)            begins with ``start``, ends with ``done``
    store     `timing.store_cycles`  counters go to the program memory
    ========  =====================  =========================================================================

    Owns the program memory: the host's while idle, the fetch's and then the feeder's (plane pairs) while busy.

    Members
    -------
    access : In; of the host
    register_word, program_word : Out; what a read of registers and program memory answers
    descriptor : Out; `descriptor.descriptor_layout`, static from prepare to the end of run
    prepare, prepare_first, start : Out; see `Writer`
    pair_address : In; pair_word : Out; `timing.program_latency` later
    copy, copy_block, copy_thresholds : Out; copy_done : In; see `Copier`
    issue, stall, done : In; a step is issued, a step waits, the last store is under way
    busy : Out
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "access": In(ACCESS_LAYOUT),
                "register_word": Out(32),
                "program_word": Out(32),
                "descriptor": Out(descriptor_layout(config)),
                "prepare": Out(1),
                "prepare_first": Out(1),
                "start": Out(1),
                "pair_address": In(ceil_log2(config.program_depth)),
                "pair_word": Out(32),
                "copy": Out(1),
                "copy_block": Out(block_layout(config)),
                "copy_thresholds": Out(1),
                "copy_done": In(1),
                "issue": In(1),
                "stall": In(1),
                "done": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        access = self.access
        latency = program_latency(self.config.technology)
        m.submodules.program = program = BlockMemory(width=32, depth=self.config.program_depth)
        read_word = delay(m, program.read_data, latency - 1, name="read_word")
        # Next program word to be read or written; one bit more than an address, to be able to stand at the end.
        pointer = Signal(len(program.read_address) + 1)
        next_descriptor = Signal.like(pointer)
        word = Signal(range(DESCRIPTOR_WORDS))  # of the descriptor, counted from the first one of the state
        run_ends, layer_begins = Signal(), Signal()

        register_write = Signal()
        index = access.offset[:4]
        m.d.comb += register_write.eq(access.space.registers & access.write)
        interval = Signal(32)
        self._registers(m, register_write, index, next_descriptor, interval, run_ends)
        m.d.sync += interval.eq(Mux(run_ends, 0, Mux(layer_begins, 1, interval + 1)))
        running = Signal()  # any state but idle; a register, as much waits for it
        loading = Signal()
        empty = self._load(m, read_word, layer_begins, loading, word)

        m.d.comb += [
            self.pair_word.eq(read_word),
            self.program_word.eq(read_word),
            program.read_address.eq(pointer),
            program.write_address.eq(pointer),
            program.write_data.eq(access.data),
            self.busy.eq(running),
        ]
        # The stall counter also adds one to the run count, after the stalls themselves have been stored.
        steps, stalls = Signal(32, reset_less=True), Signal(32, reset_less=True)
        count_run = Signal()
        with m.If(self.issue):
            m.d.sync += steps.eq(steps + 1)
        with m.If(self.stall | count_run):
            m.d.sync += stalls.eq(Mux(count_run, read_word, stalls) + 1)
        with m.If(layer_begins):
            m.d.sync += [steps.eq(0), stalls.eq(0)]

        single = Signal()
        with m.FSM(name="state"):
            with m.State("idle"):
                m.d.comb += [
                    program.read_address.eq(access.offset),
                    program.write_address.eq(access.offset),
                    program.write_enable.eq(access.space.program & access.write),
                ]
                m.d.sync += [pointer.eq(next_descriptor), word.eq(0)]
                with m.If(register_write & (index == _INDEX["descriptor"])):
                    m.d.sync += next_descriptor.eq(access.data)
                with m.If(register_write & (index == _INDEX["control"]) & access.data[0]):
                    m.d.sync += [single.eq(access.data[1]), running.eq(1)]
                    m.next = "fetch"

            with m.State("fetch"):
                # The pointer stops at the second block.
                m.d.comb += [layer_begins.eq(word == 0), loading.eq(word >= latency)]
                m.d.sync += word.eq(word + 1)
                with m.If(word <= _PARAMETER_WORDS):
                    m.d.sync += pointer.eq(pointer + 1)
                with m.If(word == _PARAMETER_WORDS - 1 + latency):
                    m.d.sync += word.eq(0)
                    m.next = "copy"

            with m.State("copy"):
                # Words 0 and 2 begin the blocks, 1 and 3 wait for them to be copied. The first block is there now, the
                # second from the next cycle on.
                begins = Signal()
                m.d.comb += [
                    begins.eq(~word[0]), self.copy.eq(begins), self.copy_thresholds.eq(word[1]),
                    self.copy_block.source.eq(read_word), self.copy_block.count.eq(read_word[16:]),
                ]  # fmt: skip
                with m.If(begins & (self.copy_block.count != 0)):
                    m.d.sync += word[0].eq(1)
                with m.Elif(begins | self.copy_done):
                    m.d.sync += word.eq(Mux(word[1], 0, 2))
                    with m.If(word[1]):
                        m.d.sync += pointer.eq(pointer + 1)
                        m.next = "prepare"
                        with m.If(empty):
                            m.next = "store"

            with m.State("prepare"):
                m.d.comb += [self.prepare.eq(1), self.prepare_first.eq(word == 0)]
                m.d.sync += word.eq(word + 1)
                with m.If(word == self.descriptor.planes):
                    m.d.sync += word.eq(0)
                    m.next = "start"

            with m.State("start"):
                m.d.comb += self.start.eq(1)
                m.next = "run"

            with m.State("run"):
                m.d.comb += program.read_address.eq(self.pair_address)
                with m.If(self.done):
                    m.next = "store"

            with m.State("store"):
                # Counters 0 to 2; number 3 is addressed, read and written with one more.
                m.d.comb += [
                    count_run.eq(word == 3 + latency),
                    program.write_enable.eq((word < 3) | (word == 4 + latency)),
                    program.write_data.eq(Mux(word == 0, interval, Mux(word == 1, steps, stalls))),
                ]
                m.d.sync += word.eq(word + 1)
                with m.If((word < 3) | (word == 4 + latency)):
                    m.d.sync += pointer.eq(pointer + 1)
                with m.If(word == store_cycles(self.config.technology) - 1):
                    m.d.sync += [word.eq(0), next_descriptor.eq(pointer + 1)]
                    m.next = "fetch"
                    with m.If(single | self.descriptor.last):
                        m.d.comb += run_ends.eq(1)
                        m.d.sync += running.eq(0)
                        m.next = "idle"
        return m

    def _registers(
        self, m: Module, register_write: Signal, index: Value, next_descriptor: Signal, interval: Signal,
        run_ends: Signal,
    ) -> None:  # fmt: skip
        """Space 0 of the memory map, apart from starting a run and moving the descriptor register."""
        access = self.access
        scratch, cycles = Signal(SCRATCH_BITS), Signal(32)
        runs = Signal(24)
        words = constants(self.config) | {
            "status": Cat(self.busy, Const(0, 7), runs),
            "descriptor": next_descriptor,
            "cycles": cycles,
            "idle": interval,
            "scratch": scratch,
        }
        with m.Switch(index):
            for name, value in words.items():
                with m.Case(_INDEX[name]):
                    m.d.comb += self.register_word.eq(value)

        with m.If(register_write & (index == _INDEX["scratch"])):
            m.d.sync += scratch.eq(access.data)
        busy_before = Signal()
        m.d.sync += busy_before.eq(self.busy)
        with m.If(self.busy):
            m.d.sync += cycles.eq(Mux(busy_before, cycles + 1, 1))
        with m.If(run_ends):
            m.d.sync += runs.eq(runs + 1)

    def _load(self, m: Module, read_word: Value, begins: Signal, loading: Signal, word: Signal) -> Signal:
        """Put word number ``word`` - latency of the descriptor into its fields; returns whether a loop count was 0."""
        descriptor = Signal.like(self.descriptor, reset_less=True)
        empty = Signal(reset_less=True)
        m.d.comb += self.descriptor.eq(descriptor)
        with m.If(loading), m.Switch(word):
            for number in range(_PARAMETER_WORDS):
                fields = [field for field in DESCRIPTOR_FIELDS if field.word == number]
                with m.Case(number + program_latency(self.config.technology)):
                    for field in fields:
                        bits = read_word[field.lsb : field.lsb + field.width]
                        m.d.sync += descriptor[field.name].eq(bits - 1 if field.name in COUNTS else bits)
                        if field.name in LOOP_COUNTS:
                            with m.If(bits == 0):
                                m.d.sync += empty.eq(1)
        with m.Elif(begins):
            m.d.sync += empty.eq(0)
        return empty
