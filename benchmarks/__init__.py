"""The project's claims as measurements: one module a claim, run together by `python -m benchmarks`."""
