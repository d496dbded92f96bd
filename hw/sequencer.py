"""Sequencer: host registers, program memory, the run of a chain of descriptors."""

from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .counters import Counters
from .descriptor import block_layout, descriptor_layout
from .descriptor_registers import DescriptorRegisters
from .host import ACCESS_LAYOUT
from .isa import COUNTER_WORDS, DESCRIPTOR_WORDS
from .memory import BlockMemory
from .pipeline import delay
from .registers import REGISTERS, SCRATCH_BITS, constants
from .timing import PARAMETER_WORDS, extra_registers, fetch_cycles, program_latency, store_cycles

__all__ = ["Sequencer"]

_INDEX = {register.name: register.index for register in REGISTERS}


class Sequencer(wiring.Component):
    """Runs descriptors, one after the other: fetch, prepare, run, write the counters back.

    ========  =====================  =========================================================================
    state     cycles                 what happens
    ========  =====================  =========================================================================
    fetch     `timing.fetch_cycles`  the words of the descriptor are read
    copy      `timing.copy_cycles`   blocks of the feature memory are copied; a loop count of 0 ends it here
    prepare   planes                 the writer finds the address of the first plane
    start     1                      the loops begin
    run       (steps and stalls)     ends when the last step has been issued
    drain     (bits and drain)       the last results are stored, and the counters but for the cycles
    turn      1                      the cycles are stored; the next descriptor begins or the run ends
    ========  =====================  =========================================================================

    With ``prefetch`` there is no drain state: the fetch of the next descriptor takes its place, which then waits for
    the end of the drain, and ``turn`` exchanges the descriptors. What is fetched after the last one is not used.

    Owns the program memory: the host's while idle; while busy the fetch's, and the feeder's (plane pairs) as long as it
    issues steps.

    Members
    -------
    access : In; of the host
    register_word, program_word : Out; what a read of registers and program memory answers
    descriptor : Out; `descriptor.descriptor_layout`, static from prepare to ``done``
    prepare, prepare_first, start : Out; see `Writer`
    pair_address : In; pair_word : Out; `timing.program_latency` later
    copy, copy_block, copy_thresholds : Out; copy_done : In; see `Copier`
    active, issue, stall : In; between start and the last step; a step is issued, a step waits
    done : In; the last store is under way
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
                "active": In(1),
                "issue": In(1),
                "stall": In(1),
                "done": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        access, config, prefetch = self.access, self.config, self.config.prefetch
        latency = program_latency(config.technology)
        m.submodules.program = program = BlockMemory(width=32, depth=config.program_depth)
        read_word = delay(m, program.read_data, latency - 1, name="read_word")
        m.submodules.registers = registers = DescriptorRegisters(config)
        m.submodules.counters = counters = Counters()

        # One bit more than an address, to be able to stand at the end. Moves on when a descriptor is completed.
        next_descriptor = self._next_descriptor = Signal(len(program.read_address) + 1)
        following = Signal.like(next_descriptor)
        pointer = Signal.like(program.read_address)  # next program word to be read
        # Where a counter is stored, found a cycle before; until the drain, where the run count is.
        counter = Signal(range(DESCRIPTOR_WORDS))
        counter_address = self._counter_address = Signal.like(program.write_address)
        # In the fetch, word n of the descriptor is addressed in the cycle of word n + 1, and at the last value it is
        # complete. A fetch in place of a drain begins at 0, where the run count is addressed.
        word = Signal(range(fetch_cycles(config.technology) + 1))
        late = extra_registers(config.technology)
        fetched, copied_first = fetch_cycles(config.technology), 2 + latency + 2 * late
        stored = store_cycles(config.technology) - 1
        late_word = delay(m, read_word, late, name="late_word")
        # What is written comes from registers of its own for fast clocks.
        layout = {"address": len(program.write_address), "data": 32, "enable": 1}
        write = Signal(data.StructLayout(layout))
        written = data.View(write.shape(), delay(m, write, late, name="written", reset=True))
        m.d.comb += [getattr(program, f"write_{name}").eq(written[name]) for name in layout]
        single = Signal()
        running = Signal()  # any state but idle; a register, as much waits for it
        draining = self._draining = Signal()  # from start to done
        behind = self._behind = Signal()  # a descriptor has begun whose counters are to be stored
        ended, ends = Signal(), Signal()
        loads = Signal()
        register_write = Signal()
        index = access.offset[:4]
        m.d.comb += [
            register_write.eq(access.space.registers & access.write),
            self.busy.eq(running),
            self.pair_word.eq(read_word),
            self.program_word.eq(late_word),
            self.descriptor.eq(registers.descriptor),
            registers.word.eq(delay(m, late_word, late, name="loaded_word")),
            registers.number.eq(delay(m, word - (1 + latency + late), late, name="number")),
            registers.load.eq(delay(m, loads, late, name="load", reset=True)),
            following.eq(next_descriptor + DESCRIPTOR_WORDS),
            counters.issue.eq(self.issue), counters.stall.eq(self.stall), counters.completed.eq(late_word),
            counters.busy.eq(running),
            write.address.eq(counter_address),
            counter.eq(COUNTER_WORDS["completed"]),
            ended.eq(self.done | ~draining),
            ends.eq(behind & (single | self.descriptor.last)),
        ]  # fmt: skip
        self._host_registers(m, register_write, index, next_descriptor, counters)
        m.d.sync += counter_address.eq(next_descriptor + counter)
        with m.If(self.start):
            m.d.sync += draining.eq(1)
        with m.Elif(self.done):
            m.d.sync += draining.eq(0)
        starts, turns = Signal(), Signal()  # the next state is start, or turn
        if prefetch:  # a register of its own for so many that wait for it
            exchange = self._exchange = delay(m, turns, 1, name="turning", reset=True)
            m.d.comb += [registers.exchange.eq(exchange), counters.begin.eq(exchange)]
        if late:
            m.d.comb += self.start.eq(delay(m, starts, 1, name="starting", reset=True))
        m.d.comb += program.read_address.eq(
            Mux(self.active, self.pair_address, Mux(running, pointer, access.offset))
        )

        # How far it has come with them; for fast clocks found a cycle before.
        storing = Signal()
        all_stored, all_fetched, run_count = (
            delay(m, storing & found, late, name=name, reset=True) for name, found in
            (("all_stored", word >= stored - late), ("all_fetched", word >= fetched - late),
             ("run_count", word == latency))
        )  # fmt: skip
        m.d.comb += counters.count_run.eq(run_count)

        def store_counters() -> None:
            """Of the descriptor that drains, which takes longer than this. What is done by then ends it."""
            with m.Switch(word):
                for number, name in enumerate(("stalls", *["steps"] * (1 + late), "completed")):
                    with m.Case(number):
                        m.d.comb += counter.eq(COUNTER_WORDS[name])
                with m.Default():
                    m.d.comb += counter.eq(COUNTER_WORDS["cycles"])
            # The steps are stored until the run count is there.
            stores_steps = reduce(or_, (word == 2 + number for number in range(1 + late)))
            m.d.comb += [
                storing.eq(1),
                counters.hold.eq(~draining),
                write.enable.eq(behind & (word != 0) & (word < stored)),
                write.data.eq(Mux(stores_steps, counters.steps, counters.stalls)),
                turns.eq(ended & all_stored & (ends | all_fetched | (not prefetch))),
            ]
            with m.If(turns):
                m.d.sync += word.eq(0)
                m.next = "turn"

        def branch() -> None:
            m.next = "prepare"
            with m.If(registers.detour):
                m.next = "copy"

        with m.FSM(name="state"):
            with m.State("idle"):
                m.d.comb += [
                    write.address.eq(access.offset),
                    write.enable.eq(access.space.program & access.write),
                    write.data.eq(access.data),
                ]
                m.d.sync += [pointer.eq(next_descriptor), word.eq(1)]
                with m.If(register_write & (index == _INDEX["descriptor"])):
                    m.d.sync += next_descriptor.eq(access.data)
                with m.If(register_write & (index == _INDEX["control"]) & access.data[0]):
                    m.d.sync += [single.eq(access.data[1]), running.eq(1)]
                    m.next = "fetch"

            with m.State("fetch"):
                m.d.comb += [registers.clear.eq(word == 1), loads.eq(word > latency + late)]
                # After the last word the pointer stands where the blocks' words begin, for the copy.
                with m.If(word < PARAMETER_WORDS):
                    m.d.sync += pointer.eq(pointer + 1)
                with m.Elif(word == PARAMETER_WORDS):
                    m.d.sync += pointer.eq(pointer - 1)
                with m.If(word != fetched):
                    m.d.sync += word.eq(word + 1)
                if prefetch:
                    store_counters()
                else:
                    m.d.comb += counters.begin.eq(word == 1)
                    with m.If(word == fetched):
                        m.d.sync += [word.eq(0), behind.eq(1)]
                        branch()

            with m.State("copy"):
                # The first block's word is there now, the second's `latency` cycles after it has been addressed. For
                # fast clocks the copier has them from a register of its own, a cycle later.
                first, second = word == late, word == copied_first
                waits = (word == late + 1) | (word == copied_first + 1)
                m.d.comb += [
                    self.copy.eq((first | second) & (self.copy_block.count != 0)),
                    self.copy_thresholds.eq(word > late + 1),
                    self.copy_block.source.eq(late_word), self.copy_block.count.eq(late_word[16:]),
                ]  # fmt: skip
                with m.If(first):
                    m.d.sync += pointer.eq(pointer + 1)
                with m.If(~waits | self.copy_done):
                    m.d.sync += word.eq(word + 1)
                with m.If(first & (self.copy_block.count == 0)):
                    m.d.sync += word.eq(late + 2)
                with m.If((second & (self.copy_block.count == 0)) | (self.copy_done & (word > late + 1))):
                    m.d.sync += [word.eq(0), pointer.eq(counter_address)]
                    m.next = "prepare"
                    with m.If(registers.empty):
                        m.next = "fetch" if prefetch else "drain"

            with m.State("prepare"):
                m.d.comb += [self.prepare.eq(1), self.prepare_first.eq(word == 0)]
                m.d.sync += word.eq(word + 1)
                with m.If(word == self.descriptor.planes):
                    m.d.comb += starts.eq(1)
                    m.d.sync += word.eq(0)
                    m.next = "start"

            with m.State("start"):
                if not late:
                    m.d.comb += self.start.eq(1)
                m.next = "run"

            with m.State("run"):
                m.d.sync += pointer.eq(counter_address)
                with m.If(~self.active):
                    m.next = "fetch" if prefetch else "drain"

            if not prefetch:
                with m.State("drain"):
                    with m.If(word != stored):
                        m.d.sync += word.eq(word + 1)
                    store_counters()

            with m.State("turn"):
                m.d.comb += [write.enable.eq(behind), write.data.eq(counters.interval)]
                with m.If(behind):
                    m.d.sync += next_descriptor.eq(following)
                if prefetch:
                    m.d.sync += behind.eq(1)
                    branch()
                else:
                    m.d.sync += [pointer.eq(following), word.eq(1), behind.eq(0)]
                    m.next = "fetch"
                with m.If(ends):
                    m.d.comb += counters.run_ends.eq(1)
                    m.d.sync += [running.eq(0), behind.eq(0)]
                    m.next = "idle"
        return m

    def _host_registers(
        self, m: Module, register_write: Signal, index: Value, next_descriptor: Signal, counters: Counters
    ) -> None:
        """Space 0 of the memory map, apart from starting a run and moving the descriptor register."""
        scratch = Signal(SCRATCH_BITS)
        words = constants(self.config) | {
            "status": Cat(self.busy, Const(0, 7), counters.runs),
            "descriptor": next_descriptor,
            "cycles": counters.cycles,
            "idle": counters.interval,
            "scratch": scratch,
        }
        with m.Switch(index):
            for name, value in words.items():
                with m.Case(_INDEX[name]):
                    m.d.comb += self.register_word.eq(value)
        with m.If(register_write & (index == _INDEX["scratch"])):
            m.d.sync += scratch.eq(self.access.data)
