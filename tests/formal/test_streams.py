"""Proof of the stream contract for the building blocks of streams."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Mux
from amaranth.lib.wiring import Component

from dorefabric.hw.streams import StreamBuffer, StreamRegister
from dorefabric.sim.formal import ProofFailed, cover, prove
from dorefabric.sim.properties import TaggedElement, assert_stable, assume_stable, free


class BufferHarness(Component):
    def __init__(self, broken: bool = False) -> None:
        self._broken = broken
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = StreamBuffer(4)
        free(m, dut.i.valid)
        free(m, dut.i.payload)
        free(m, dut.o.ready)
        assume_stable(m, dut.i)
        assert_stable(m, dut.o)
        tag = TaggedElement(m, (dut.i.valid & dut.i.ready, dut.i.payload),
                            (dut.o.valid & dut.o.ready, dut.o.payload), 1 if self._broken else 2)  # fmt: skip
        m.d.comb += [
            Assert(tag.held == dut.o.valid + dut._spare_valid),
            Assert(dut.o.valid | ~dut._spare_valid),
            Assert(~tag.inside | (tag.value == Mux(tag.ahead == 0, dut.o.payload, dut._spare))),
            Cover((tag.held == 2) & tag.inside & (tag.ahead == 1)),
            Cover(dut.i.valid & dut.i.ready & dut.o.valid & dut.o.ready),
        ]
        return m


def test_stream_buffer_loses_and_reorders_nothing() -> None:
    prove(BufferHarness(), 3)
    cover(BufferHarness(), 6)


class RegisterHarness(Component):
    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = StreamRegister(4)
        free(m, dut.i.valid)
        free(m, dut.i.payload)
        free(m, dut.o.ready)
        assume_stable(m, dut.i)
        assert_stable(m, dut.o)
        tag = TaggedElement(m, (dut.i.valid & dut.i.ready, dut.i.payload),
                            (dut.o.valid & dut.o.ready, dut.o.payload), 1)  # fmt: skip
        m.d.comb += [
            Assert(tag.held == dut.o.valid),
            Assert(~tag.inside | (tag.value == dut.o.payload)),
            Cover(tag.inside & dut.o.ready),
        ]
        return m


def test_stream_register_loses_and_reorders_nothing() -> None:
    prove(RegisterHarness(), 3)
    cover(RegisterHarness(), 6)


def test_a_wrong_claim_is_refuted_with_its_line() -> None:
    with pytest.raises(ProofFailed, match=r"^BufferHarness: an assertion fails within 6 cycles: .*properties\.py:\d+"):
        prove(BufferHarness(broken=True), 6)


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
