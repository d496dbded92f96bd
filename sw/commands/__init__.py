"""One module a verb of the `dorefabric` command: its arguments, and `run(args)`, which returns the report."""
