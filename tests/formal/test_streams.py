"""Proof of the stream contract for the building blocks of streams."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Mux, Signal
from amaranth.lib.wiring import Component

from dorefabric.hw.streams import StreamBuffer, StreamRegister, StreamSettler
from dorefabric.sim.formal import ProofFailed, cover, prove
from dorefabric.sim.properties import TaggedElement, assert_stable, assume_stable, free


class StageHarness(Component):
    """A stage between free streams: what it takes comes out once, in order, and valid payloads stay."""

    def __init__(self, stage: type[StreamBuffer | StreamRegister | StreamSettler], capacity: int) -> None:
        self._stage, self._capacity = stage, capacity
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = self._stage(4)
        free(m, dut.i.valid)
        free(m, dut.i.payload)
        free(m, dut.o.ready)
        assume_stable(m, dut.i)
        assert_stable(m, dut.o)
        tag = TaggedElement(m, (dut.i.valid & dut.i.ready, dut.i.payload),
                            (dut.o.valid & dut.o.ready, dut.o.payload), self._capacity)  # fmt: skip
        # Where the elements lie, without which induction would start from states that cannot be reached.
        if self._stage is StreamBuffer:
            m.d.comb += [
                Assert(tag.held == dut.o.valid + dut._spare_valid),
                Assert(dut.o.valid | ~dut._spare_valid),
                Assert(~tag.inside | (tag.value == Mux(tag.ahead == 0, dut.o.payload, dut._spare))),
                Cover((tag.held == 2) & tag.inside & (tag.ahead == 1)),
                Cover(dut.i.valid & dut.i.ready & dut.o.valid & dut.o.ready),
            ]
        elif self._stage is StreamSettler:
            before, valid, taken = Signal(4), Signal(), Signal()
            m.d.sync += [before.eq(dut.o.payload), valid.eq(dut.o.valid), taken.eq(dut.o.valid & dut.o.ready)]
            m.d.comb += [
                Assert(tag.held == dut._full),
                Assert(dut._full | ~dut.o.valid),
                Assert(~tag.inside | (tag.value == dut.o.payload)),
                # What its readers rely on.
                Assert(~dut.o.valid | (dut.o.payload == before)),
                Assert(~(dut.o.valid & taken)),
                Assert(~(dut._full & taken)),
                Assert(~(valid & ~taken) | dut._full),
                Cover(tag.inside & dut.o.valid & dut.o.ready),
            ]
        else:
            m.d.comb += [
                Assert(tag.held == dut.o.valid),
                Assert(~tag.inside | (tag.value == dut.o.payload)),
                Cover(tag.inside & dut.o.ready),
            ]
        return m


@pytest.mark.parametrize("stage, capacity", [(StreamBuffer, 2), (StreamRegister, 1), (StreamSettler, 1)])
def test_nothing_is_lost_repeated_or_reordered(stage, capacity) -> None:
    prove(StageHarness(stage, capacity), 3)
    cover(StageHarness(stage, capacity), 6)


def test_a_wrong_claim_is_refuted_with_its_line() -> None:
    with pytest.raises(ProofFailed, match=r"^StageHarness: an assertion fails within 6 cycles: .*properties\.py:\d+"):
        prove(StageHarness(StreamBuffer, 1), 6)


class UnreachableHarness(Component):
    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = StreamBuffer(4)
        m.d.comb += [dut.i.valid.eq(0), Cover(dut.o.valid)]
        return m


def test_an_unreachable_cover_is_reported() -> None:
    with pytest.raises(ProofFailed, match=r"^UnreachableHarness: not reached within 5 cycles: .*test_streams\.py:\d+"):
        cover(UnreachableHarness(), 5)
