"""The host bus inside the chip: a stream of requests, a stream of read data."""

from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from .registers import ADDRESS_BITS

__all__ = ["BusSignature", "Request"]


Request = data.StructLayout({"data": 32, "address": ADDRESS_BITS, "write": 1})
"""One bus access: a write is done when accepted; a read answers with one response word, in order."""


class BusSignature(Signature):
    """Members, as seen by the side that issues requests.

    request : stream of `Request`, one 32-bit word each
    response : stream of 32-bit read data
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(stream.Signature(Request)),
                "response": In(stream.Signature(32)),
            }
        )
