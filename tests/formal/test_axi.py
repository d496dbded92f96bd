"""Proof for the AXI front end: AXI4-Lite handshakes, the bus, and that no word of a stream is without room.

Every accepted write gets one BRESP and every accepted read one RRESP, no response comes unasked, valid and payload of
every channel stay until they are taken, and the word on RDATA is the answer to this read: the bus holds only this
read, or stream reads that were asked for after it.
"""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib.wiring import Component

from dorefabric.hw.axi import AxiFront, AxiState
from dorefabric.sim.formal import cover, prove
from dorefabric.sim.properties import assert_stable, assume_stable, free


class _Channel:
    """The handshake signals of an AXI channel under the names of a stream."""

    def __init__(self, dut: AxiFront, name: str, payload: str) -> None:
        self.valid = getattr(dut, f"{name}valid")
        self.ready = getattr(dut, f"{name}ready")
        self.payload = getattr(dut, f"{name}{payload}")
        self.taken = self.valid & self.ready


class AxiHarness(Component):
    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = AxiFront()
        aw, w, ar = (_Channel(dut, f"s_axi_{n}", p) for n, p in (("aw", "addr"), ("w", "data"), ("ar", "addr")))
        b, r = _Channel(dut, "s_axi_b", "resp"), _Channel(dut, "s_axi_r", "data")
        beats, words = _Channel(dut, "s_axis_t", "data"), _Channel(dut, "m_axis_t", "data")
        for channel in (aw, w, ar, beats):
            free(m, channel.valid)
            free(m, channel.payload)
            assume_stable(m, channel)
        free(m, dut.s_axi_wstrb)
        for channel in (b, r, words):
            free(m, channel.ready)
            assert_stable(m, channel)
        bus = dut.bus
        free(m, bus.request.ready)
        free(m, bus.response.valid)
        free(m, bus.response.payload)
        assume_stable(m, bus.response)
        assert_stable(m, bus.request)

        # One response to each access --------------------------------------------------------------
        writing, reading = Signal(), Signal()
        with m.If(aw.taken):
            m.d.sync += writing.eq(1)
        with m.Elif(b.taken):
            m.d.sync += writing.eq(0)
        with m.If(ar.taken):
            m.d.sync += reading.eq(1)
        with m.Elif(r.taken):
            m.d.sync += reading.eq(0)
        m.d.comb += [
            Assert(aw.taken == w.taken),
            Assert(~(aw.taken & (writing | reading))),
            Assert(~(ar.taken & (writing | reading))),
            Assert(~(aw.taken & ar.taken)),
            Assert(~b.valid | writing),
            Assert(~r.valid | reading),
        ]

        unanswered = Signal(range(16))
        lite = Signal()  # the AXI4-Lite read is on the bus, or waits there to be accepted
        asked = bus.request.valid & bus.request.ready & ~bus.request.payload.write
        answered = bus.response.valid & bus.response.ready
        waiting = bus.request.valid & ~bus.request.payload.write
        m.d.sync += unanswered.eq(unanswered + asked - answered)
        m.d.comb += [
            Assume(~bus.response.valid | (unanswered != 0)),
            lite.eq(dut._state == AxiState.READING),
            # All reads are accounted for, so the first answer in READING is that of the AXI4-Lite read.
            Assert(unanswered + waiting == dut._stream_due + lite),
            # There is room for every word that was asked for.
            Assert(dut._reserved == dut._stream_due + dut._words.level),
            Assert(dut._words.w_rdy | ~dut._words.w_en),
            Assert(dut._reserved <= 8),
            Assert(bus.response.ready),
        ]
        was_lite = Signal()
        m.d.sync += was_lite.eq(lite)
        with m.If(lite & ~was_lite):
            m.d.comb += Assert(dut._stream_due == 0)

        # For induction ----------------------------------------------------------------------------
        state = dut._state
        active = (state == AxiState.EXECUTE) | (state == AxiState.READING) | (state == AxiState.RESPOND)
        m.d.comb += [
            Assert(state.as_value() <= AxiState.RESPOND.value),
            Assert(writing == (active & dut._is_write)),
            Assert(reading == (active & ~dut._is_write)),
            Assert((state != AxiState.TAKE_WRITE) | (aw.valid & w.valid)),
            Assert((state != AxiState.TAKE_READ) | ar.valid),
            Assert((state != AxiState.READING) | reading),
        ]

        m.d.comb += [
            Cover(r.taken),
            Cover(b.taken & (dut.s_axi_bresp == 0)),
            Cover(b.taken & (dut.s_axi_bresp != 0)),
        ]
        return m


def test_every_access_gets_its_one_response() -> None:
    prove(AxiHarness(), 2)
    cover(AxiHarness(), 8)
