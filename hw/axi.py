"""AXI front end: the memory map through AXI4-Lite, bulk data through AXI4-Stream.

The AXI4-Lite byte address is four times the bus word address of `registers.py`: space s starts at s << 26. Accesses
are whole aligned words; a write whose strobes are not all set changes nothing and is answered with SLVERR.
Space 15 is the front end's own:

| byte address | name                 | access | meaning                                                             |
|--------------|----------------------|--------|---------------------------------------------------------------------|
| 0x3c000000   | stream_write_address | R/W    | bus word address that the next beat of s_axis is written to         |
| 0x3c000004   | stream_write_length  | R/W    | beats of s_axis to be written yet; writing it starts a transfer     |
| 0x3c000008   | stream_read_address  | R/W    | bus word address of the next word to be read                        |
| 0x3c00000c   | stream_read_length   | R/W    | words that m_axis has to deliver yet; writing it starts a transfer  |

A register of a transfer that is under way cannot be written (SLVERR). Lengths have 24 bits. s_axis has 32-bit
beats; up to two are taken ahead of a transfer, and TLAST is not needed. m_axis sets TLAST with the last word of
each transfer. AXI4-Lite accesses go before stream accesses, so status can be polled at any time.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import enum
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out, Signature

from .bus import BusSignature, Request
from .registers import ADDRESS_BITS, OFFSET_BITS
from .streams import StreamBuffer

__all__ = ["FRONT_REGISTERS", "FRONT_SPACE", "AxiFront", "AxiSignature", "AxiState", "FrontRegister"]

FRONT_SPACE = 15
OKAY, SLVERR = 0, 2

_READ_AHEAD = 8


@dataclass(frozen=True)
class FrontRegister:
    """A register of the front end: 32-bit word ``index`` of space 15."""

    name: str
    index: int
    doc: str


FRONT_REGISTERS = (
    FrontRegister("stream_write_address", 0, "bus word address that the next beat of s_axis is written to"),
    FrontRegister("stream_write_length", 1, "beats of s_axis to be written yet; writing it starts a transfer"),
    FrontRegister("stream_read_address", 2, "bus word address of the next word to be read"),
    FrontRegister("stream_read_length", 3, "words m_axis has to deliver yet; writing it starts a transfer"),
)


class AxiState(enum.Enum, shape=3):
    """What happens to the AXI4-Lite access."""

    IDLE = 0
    TAKE_WRITE = 1
    TAKE_READ = 2
    EXECUTE = 3
    READING = 4
    RESPOND = 5


class AxiSignature(Signature):
    """AXI4-Lite slave, AXI4-Stream slave and master, as seen by the front end; names as vendors' tools expect."""

    def __init__(self) -> None:
        byte_address = ADDRESS_BITS + 2
        super().__init__(
            {
                "s_axi_awaddr": In(byte_address), "s_axi_awprot": In(3),
                "s_axi_awvalid": In(1), "s_axi_awready": Out(1),
                "s_axi_wdata": In(32), "s_axi_wstrb": In(4), "s_axi_wvalid": In(1), "s_axi_wready": Out(1),
                "s_axi_bresp": Out(2), "s_axi_bvalid": Out(1), "s_axi_bready": In(1),
                "s_axi_araddr": In(byte_address), "s_axi_arprot": In(3),
                "s_axi_arvalid": In(1), "s_axi_arready": Out(1),
                "s_axi_rdata": Out(32), "s_axi_rresp": Out(2), "s_axi_rvalid": Out(1), "s_axi_rready": In(1),
                "s_axis_tdata": In(32), "s_axis_tvalid": In(1), "s_axis_tready": Out(1),
                "m_axis_tdata": Out(32), "m_axis_tlast": Out(1), "m_axis_tvalid": Out(1), "m_axis_tready": In(1),
            }
        )  # fmt: skip


class AxiFront(Component):
    """AXI to the bus.

    No output depends on an input of the same cycle. An AXI4-Lite write takes five cycles, a read six and the latency
    of the bus, one at a time. The streams carry a word a cycle as long as the bus does.

    Members
    -------
    s_axi_*, s_axis_*, m_axis_*
        See `AxiSignature`.
    bus : BusSignature
        To the core.
    """

    def __init__(self) -> None:
        super().__init__({**AxiSignature().members, "bus": Out(BusSignature())})
        self._words = SyncFIFOBuffered(width=32, depth=_READ_AHEAD)
        self._state = Signal(AxiState)
        self._is_write = Signal()
        self._address = Signal(ADDRESS_BITS)
        self._reserved = Signal(range(_READ_AHEAD + 1))  # words asked for and not delivered yet
        self._stream_due = Signal(range(_READ_AHEAD + 1))  # words asked for and not come yet

    def elaborate(self, platform) -> Module:
        m = Module()
        state, is_write, address = self._state, self._is_write, self._address
        reserved, stream_due = self._reserved, self._stream_due
        m.submodules.beats = beats = StreamBuffer(32)
        m.submodules.words = words = self._words
        write_address = Signal(ADDRESS_BITS)
        write_length = Signal(OFFSET_BITS)
        read_address = Signal(ADDRESS_BITS)
        to_request = Signal(OFFSET_BITS)
        to_deliver = Signal(OFFSET_BITS)

        # One AXI4-Lite access at a time ----------------------------------------------------------
        data = Signal(32)
        whole = Signal()  # all strobes set
        response = Signal(2)
        write_was_last = Signal()  # takes turns when a write and a read wait
        lite_valid = Signal()
        lite_grant = Signal()
        lite_reading = Signal()

        busy = Signal()
        values = Signal(32)
        is_read_side = address[1]
        with m.If(is_read_side):
            m.d.comb += [busy.eq(to_deliver != 0), values.eq(Mux(address[0], to_deliver, read_address))]
        with m.Else():
            m.d.comb += [busy.eq(write_length != 0), values.eq(Mux(address[0], write_length, write_address))]

        m.d.comb += [
            self.s_axi_bresp.eq(response),
            self.s_axi_rresp.eq(response),
            self.s_axi_rdata.eq(data),
        ]
        with m.Switch(state):
            with m.Case(AxiState.IDLE):
                with m.If(self.s_axi_awvalid & self.s_axi_wvalid & ~(self.s_axi_arvalid & write_was_last)):
                    m.d.sync += state.eq(AxiState.TAKE_WRITE)
                with m.Elif(self.s_axi_arvalid):
                    m.d.sync += state.eq(AxiState.TAKE_READ)
            with m.Case(AxiState.TAKE_WRITE):
                m.d.comb += [self.s_axi_awready.eq(1), self.s_axi_wready.eq(1)]
                m.d.sync += [
                    is_write.eq(1),
                    address.eq(self.s_axi_awaddr[2:]),
                    data.eq(self.s_axi_wdata),
                    whole.eq(self.s_axi_wstrb.all()),
                ]
                m.d.sync += state.eq(AxiState.EXECUTE)
            with m.Case(AxiState.TAKE_READ):
                m.d.comb += self.s_axi_arready.eq(1)
                m.d.sync += [is_write.eq(0), address.eq(self.s_axi_araddr[2:]), whole.eq(1)]
                m.d.sync += state.eq(AxiState.EXECUTE)
            with m.Case(AxiState.EXECUTE):
                m.d.sync += [response.eq(OKAY), write_was_last.eq(is_write)]
                with m.If(~whole):
                    m.d.sync += response.eq(SLVERR)
                    m.d.sync += state.eq(AxiState.RESPOND)
                with m.Elif(address[OFFSET_BITS:] == FRONT_SPACE):
                    m.d.sync += state.eq(AxiState.RESPOND)
                    with m.If(~is_write):
                        m.d.sync += data.eq(Mux(address[2:OFFSET_BITS].any(), 0, values))
                    with m.Elif(address[2:OFFSET_BITS].any() | busy):
                        m.d.sync += response.eq(SLVERR)
                    with m.Else(), m.Switch(address[:2]):
                        with m.Case(0):
                            m.d.sync += write_address.eq(data)
                        with m.Case(1):
                            m.d.sync += write_length.eq(data)
                        with m.Case(2):
                            m.d.sync += read_address.eq(data)
                        with m.Case(3):
                            m.d.sync += [to_request.eq(data), to_deliver.eq(data)]
                with m.Else():
                    m.d.comb += lite_valid.eq(1)
                    with m.If(lite_grant):
                        m.d.sync += state.eq(AxiState.RESPOND)
                        with m.If(~is_write):
                            m.d.sync += state.eq(AxiState.READING)
            with m.Case(AxiState.READING):
                m.d.comb += lite_reading.eq(1)
                m.d.sync += data.eq(self.bus.response.payload)
                with m.If(self.bus.response.valid):
                    m.d.sync += state.eq(AxiState.RESPOND)
            with m.Case(AxiState.RESPOND):
                m.d.comb += [self.s_axi_bvalid.eq(is_write), self.s_axi_rvalid.eq(~is_write)]
                with m.If(Mux(is_write, self.s_axi_bready, self.s_axi_rready)):
                    m.d.sync += state.eq(AxiState.IDLE)

        # Streams ---------------------------------------------------------------------------------
        m.d.comb += [
            beats.i.payload.eq(self.s_axis_tdata),
            beats.i.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(beats.i.ready),
            self.m_axis_tdata.eq(words.r_data),
            self.m_axis_tvalid.eq(words.r_rdy),
            self.m_axis_tlast.eq(to_deliver == 1),
            words.r_en.eq(self.m_axis_tready),
        ]
        deliver = words.r_rdy & words.r_en
        with m.If(deliver):
            m.d.sync += to_deliver.eq(to_deliver - 1)

        # One bus ---------------------------------------------------------------------------------
        # Responses come in the order of requests, so AXI4-Lite reads while no word is due to the stream.
        request = Signal(Request)
        free = Signal()
        ask = Signal()
        m.d.comb += [
            free.eq(~self.bus.request.valid | self.bus.request.ready),
            self.bus.response.ready.eq(1),  # there is room for every word that was asked for
            words.w_data.eq(self.bus.response.payload),
            words.w_en.eq(self.bus.response.valid & ~lite_reading),
        ]
        with m.If(lite_valid):
            m.d.comb += [
                lite_grant.eq(free & (is_write | (stream_due == 0))),
                Cat(request.data, request.address, request.write).eq(Cat(data, address, is_write)),
            ]
        with m.Elif((write_length != 0) & beats.o.valid):
            m.d.comb += [
                beats.o.ready.eq(free),
                Cat(request.data, request.address, request.write).eq(Cat(beats.o.payload, write_address, 1)),
            ]
            with m.If(free):
                m.d.sync += [write_address.eq(write_address + 1), write_length.eq(write_length - 1)]
        with m.Elif((to_request != 0) & (reserved != _READ_AHEAD)):
            m.d.comb += [
                ask.eq(free),
                Cat(request.data, request.address, request.write).eq(Cat(data, read_address, 0)),
            ]
            with m.If(free):
                m.d.sync += [read_address.eq(read_address + 1), to_request.eq(to_request - 1)]
        m.d.sync += [
            reserved.eq(reserved + ask - deliver),
            stream_due.eq(stream_due + ask - words.w_en),
        ]
        with m.If(free):
            m.d.sync += [
                self.bus.request.valid.eq(lite_grant | beats.o.ready | ask),
                self.bus.request.payload.eq(request),
            ]
        return m
