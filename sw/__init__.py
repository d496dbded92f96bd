"""Training, compiler, interpreter and host driver. Nothing here imports gateware."""
