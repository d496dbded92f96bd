"""Dividers against the figures of icepll, ecppll and gowin_pll, ranges, and exactness."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dorefabric.boards.clocking import ClockError, Ecp5Pll, GowinPll, Ice40Pll, XilinxPll

MHZ = 1_000_000


@pytest.mark.parametrize(
    ("output", "divr", "divf", "divq", "filter_range"),
    # printed by `icepll -i 12 -o OUTPUT`
    [(18, 0, 47, 5, 1), (24, 0, 63, 5, 1), (30, 0, 79, 5, 1), (36, 0, 47, 4, 1), (48, 0, 63, 4, 1)],
)
def test_ice40_equals_icepll(output, divr, divf, divq, filter_range):
    pll = Ice40Pll.solve(12 * MHZ, output * MHZ)
    assert (pll.divr, pll.divf, pll.divq, pll.filter_range) == (divr, divf, divq, filter_range)
    assert pll.output_hz == output * MHZ


@pytest.mark.parametrize(
    ("output", "reference", "feedback", "divider"),
    # printed by `ecppll -i 25 -o OUTPUT`
    [(50, 1, 2, 12), (60, 5, 12, 10), (75, 1, 3, 8)],
)
def test_ecp5_equals_ecppll(output, reference, feedback, divider):
    pll = Ecp5Pll.solve(25 * MHZ, output * MHZ)
    assert (pll.reference, pll.feedback, pll.divider) == (reference, feedback, divider)
    assert pll.oscillator_hz == output * divider * MHZ


@pytest.mark.parametrize(
    ("device", "idiv", "fbdiv", "odiv"),
    # the smallest dividers that gowin_pll's limits permit for 54 MHz from 27
    [("GW1NR-9C", 0, 1, 8), ("GW2A-18C", 0, 1, 16)],
)
def test_gowin_equals_gowin_pll(device, idiv, fbdiv, odiv):
    pll = GowinPll.solve(27 * MHZ, 54 * MHZ, device=device)
    assert (pll.idiv, pll.fbdiv, pll.odiv) == (idiv, fbdiv, odiv)


def test_xilinx():
    pll = XilinxPll.solve(100 * MHZ, 75 * MHZ)
    assert (pll.reference, pll.feedback, pll.divider) == (1, 9, 12)
    assert pll.oscillator_hz == 900 * MHZ


FAMILIES = [
    Ice40Pll.solve,
    Ecp5Pll.solve,
    lambda i, o: GowinPll.solve(i, o, device="GW1NR-9C"),
    lambda i, o: GowinPll.solve(i, o, device="GW2A-18C"),
    XilinxPll.solve,
]


@given(st.sampled_from(FAMILIES), st.integers(10, 130), st.integers(3, 500))
def test_a_solution_is_exact(solve, input_mhz, output_mhz):
    try:
        pll = solve(input_mhz * MHZ, output_mhz * MHZ)
    except ClockError as error:
        assert "cannot make exactly" in str(error)
    else:
        assert pll.output_hz == output_mhz * MHZ


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ice40Pll(input_hz=12 * MHZ, divr=16, divf=0, divq=1), "divr must be from 0 to 15, not 16"),
        (
            lambda: Ice40Pll(input_hz=12 * MHZ, divr=0, divf=43, divq=5),
            "oscillator frequency must be from 533 MHz to 1066 MHz, not 528 MHz",
        ),
        (
            lambda: Ecp5Pll(input_hz=25 * MHZ, reference=1, feedback=2, divider=17),
            "oscillator frequency must be from 400 MHz to 800 MHz, not 850 MHz",
        ),
        (
            lambda: GowinPll(input_hz=27 * MHZ, device="GW1NR-9C", idiv=0, fbdiv=1, odiv=6),
            "odiv must be one of 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128, not 6",
        ),
        (
            lambda: GowinPll(input_hz=27 * MHZ, device="GW3", idiv=0, fbdiv=1, odiv=8),
            "device must be one of GW1NR-9C, GW2A-18C, not 'GW3'",
        ),
        (
            lambda: XilinxPll(input_hz=100 * MHZ, reference=6, feedback=50, divider=10),
            "phase detector frequency must be from 19 MHz to 450 MHz, not 16.6667 MHz",
        ),
        (lambda: Ice40Pll.solve(12 * MHZ, 20 * MHZ), "SB_PLL40 cannot make exactly 20 MHz from 12 MHz"),
        (lambda: Ecp5Pll.solve(25 * MHZ, 401 * MHZ), "EHXPLLL cannot make exactly 401 MHz from 25 MHz"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ClockError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("detector_mhz", "expected"), [(12, 1), (17, 2), (25, 2), (26, 3), (43, 3), (48, 4), (66, 5), (100, 5), (120, 6)]
)
def test_ice40_filter_range(detector_mhz, expected):
    divf = next(f for f in range(128) if 533 <= detector_mhz * (f + 1) <= 1066)
    assert Ice40Pll(input_hz=detector_mhz * MHZ, divr=0, divf=divf, divq=5).filter_range == expected


def test_fractional_frequencies_stay_exact():
    assert Ecp5Pll(input_hz=25 * MHZ, reference=3, feedback=7, divider=10).output_hz == Fraction(175 * MHZ, 3)
    solved = Ecp5Pll.solve(25 * MHZ, Fraction(400 * MHZ, 3))
    assert (solved.reference, solved.feedback, solved.divider) == (3, 16, 4)
