"""Reports of comparisons, for readers who have not seen the project."""

from hogwild.evaluation.report.write import write_report

__all__ = ["write_report"]
