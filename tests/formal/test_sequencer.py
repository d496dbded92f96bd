"""Proofs for the handshakes of the sequencer, the host port, and the spacing of the steps that start a drain."""

from dataclasses import replace

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Fragment, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.host import HostPort
from dorefabric.hw.loops import Loops
from dorefabric.hw.registers import REGISTERS
from dorefabric.hw.sequencer import Sequencer
from dorefabric.hw.slots import SlotCounter
from dorefabric.sim.formal import cover, prove
from dorefabric.sim.properties import assert_stable, assume_stable, free

CONFIG = FabricConfig(
    rows=2, columns=8, lanes=8, weight_depth=16, feature_depth=16, threshold_depth=16, program_depth=64, tap_depth=16,
    accumulator_bits=8, threshold_bits=8, activation_bits=2,
)  # fmt: skip
INDEX = {register.name: register.index for register in REGISTERS}


class HostPortHarness(Component):
    """One answer to each read, in order; a write is an access for one cycle, that in which it is accepted."""

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = HostPort(read_cycles=3)
        request, response = dut.bus.request, dut.bus.response
        for signal in (request.valid, request.payload, response.ready, dut.answer):
            free(m, signal)
        assume_stable(m, request)
        assert_stable(m, response)
        read = request.valid & request.ready & ~request.payload.write
        owed = Signal()
        answer = Signal(32)
        with m.If(read):
            m.d.sync += [owed.eq(1), answer.eq(dut.answer)]
        with m.Elif(response.valid & response.ready):
            m.d.sync += owed.eq(0)
        spaces = Value.cast(dut.access.space)
        m.d.comb += [
            Assert(response.valid == owed),
            Assert(~owed | (response.payload == answer)),
            Assert(~(read & owed)),
            Assert((spaces & (spaces - 1)[: len(spaces)]) == 0),
            Assert((spaces == 0) | request.valid),
            Assert(~(spaces.any() & dut.access.write) | request.ready),
            Cover(response.valid & response.ready & (response.payload == 0x1234)),
        ]
        return m


def test_every_read_gets_its_one_answer() -> None:
    prove(HostPortHarness(), 3)
    cover(HostPortHarness(), 8)


class SequencerHarness(Component):
    """A run begins when it is asked for and not otherwise; a layer starts once, and is done before the next."""

    def __init__(self, prefetch: bool) -> None:
        self.config = replace(CONFIG, prefetch=prefetch)
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        dut = Sequencer(self.config)
        m.submodules.dut = fragment = Fragment.get(dut, None)
        fsm = fragment.find_generated("state")

        def state(name: str) -> Value:
            return fsm.state == fsm.encoding[name]

        for signal in (dut.access, dut.pair_address, dut.active, dut.issue, dut.stall, dut.done):
            free(m, signal)
        spaces = Value.cast(dut.access.space)
        m.d.comb += Assume((spaces & (spaces - 1)[: len(spaces)]) == 0)

        running = Signal()  # between start and done
        # The loops end before their results do, and then do not begin by themselves.
        m.d.comb += Assume(~dut.done | (running & ~state("run")))
        with m.If(dut.start):
            m.d.sync += running.eq(1)
        with m.Elif(dut.done):
            m.d.sync += running.eq(0)

        drains = "fetch" if self.config.prefetch else "drain"
        asked = Signal()
        was_asked, was_busy, was_steady = Signal(), Signal(), Signal()
        steady = dut.prepare | dut.start | running
        before = Signal(len(Value.cast(dut.descriptor)))
        m.d.comb += asked.eq(
            ~dut.busy & dut.access.space.registers & dut.access.write
            & (dut.access.offset[:4] == INDEX["control"]) & dut.access.data[0]
        )  # fmt: skip
        m.d.sync += [
            was_asked.eq(asked), was_busy.eq(dut.busy), was_steady.eq(steady & ~dut.done),
            before.eq(Value.cast(dut.descriptor)),
        ]  # fmt: skip
        m.d.comb += [
            # Once, and only within a run.
            Assert(~dut.start | ~running),
            Assert(~(dut.prepare & (running | dut.start))),
            Assert(~dut.prepare_first | dut.prepare),
            Assert(~steady | dut.busy),
            # Asked for: a run follows in the next cycle. Not asked for: idle stays idle.
            Assert(was_busy | (dut.busy == was_asked)),
            # What the datapath works on stands still.
            Assert(~was_steady | (before == Value.cast(dut.descriptor))),
            # For induction.
            Assert(fsm.state < len(fsm.encoding)),
            Assert(dut.busy == ~state("idle")),
            Assert(~running | state("run") | state(drains)),
            Assert(~state("run") | running),
            Assert(running == dut._draining),
            Assert(dut._behind | ~(running | state("copy") | state("prepare") | state("start"))),
            # What a descriptor is told last, it is told when it is completed, and in its place.
            Assert(~state("turn") | (dut._counter_address == (dut._next_descriptor + 18)[:6])),
            Assert(~(state("turn") & running)),
            Assert(dut.start == state("start")),
            Assert(~was_steady | steady),
            Assert(~was_asked | state("fetch")),
            Assert(~was_asked | ~was_busy),
            Cover(dut.done & dut.busy),
        ]
        if self.config.prefetch:
            m.d.comb += Assert(dut._exchange == state("turn"))
        return m


@pytest.mark.parametrize("prefetch", [True, False])
def test_sequencer_handshakes(prefetch: bool) -> None:
    prove(SequencerHarness(prefetch), 2)
    # To write, fetch and start a descriptor takes many cycles: it is enough that nothing here forbids it.
    cover(SequencerHarness(prefetch), 4, from_reset=False)


class SpacingHarness(Component):
    """The last step of a tile never comes before the drain of the tile before it is over.

    In the circuit the level of a step reaches the drain's slot counter a fixed number of cycles later; here at once.
    """

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        loops, slots = Loops(CONFIG), SlotCounter(CONFIG)
        m.submodules.loops = Fragment.get(loops, None)
        m.submodules.slots = Fragment.get(slots, None)
        descriptor = Value.cast(loops.descriptor)
        free(m, loops.start)
        free(m, loops.hold)
        tile_ends = loops.ends
        left = Mux(slots.active, slots.plane * 4 + (3 - slots.slot), 0)
        m.d.comb += [
            descriptor.eq(AnyConst(len(descriptor))),
            slots.planes.eq(loops.descriptor.planes),
            slots.start.eq(tile_ends),
            Assume(~(loops.start & loops.active)),
            Assert(~tile_ends | ~slots.active | slots.last),
            Assert(~loops.issue | loops.active),
            Assert(~tile_ends | loops.issue),
            Assert(~(loops.stall & loops.issue)),
            # The wait is no longer than it must be: a step that waits waits for a drain, or is held.
            Assert(~loops.stall | slots.active | loops.hold),
            Assert(~(loops.hold & loops.issue)),
            # For induction: the spacing counts what the slot counter has left, less the cycle that is going on.
            Assert(loops._ready == (left == 0)),
            Assert(loops._ready | (loops._spacing == left)),
            Assert(~slots.active | (slots._last_plane == (slots.plane == 0))),
            Cover(tile_ends & slots.last),
            Cover(loops.stall),
        ]
        return m


def test_drains_do_not_overlap() -> None:
    prove(SpacingHarness(), 2)
    cover(SpacingHarness(), 8)
