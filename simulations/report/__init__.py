"""The report of a run: ``write_report(run_dir)`` draws it; ``page`` holds the pieces."""

from simulations.report.report import write_report

__all__ = ["write_report"]
