"""The accelerator: configuration, instruction set, memory map, and the circuit in Amaranth."""
