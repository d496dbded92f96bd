"""Simulation of the circuit: Verilator, Amaranth's simulator, cocotb benches, the simulated board."""
