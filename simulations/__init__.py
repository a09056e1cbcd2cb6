"""Many households on one machine: command line, engines, references, report, benchmarks."""
