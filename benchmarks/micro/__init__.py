"""Micro-benchmarks of single functions, for pytest-benchmark: `make bench-micro`."""
