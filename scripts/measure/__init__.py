"""What scripts/bench measures: `machine` and `servers` below, rows in `throughput` and the files beside it, `report` and `plot` on top."""
