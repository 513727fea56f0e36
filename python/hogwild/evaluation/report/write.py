"""A comparison as a folder of files: a report in HTML and in Markdown, plots, and the numbers."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import hogwild
from hogwild.evaluation import plots, table
from hogwild.evaluation.comparison import Comparison, write_summary
from hogwild.evaluation.extras import need
from hogwild.evaluation.report.asking import asking
from hogwild.evaluation.report.example import choose_example
from hogwild.evaluation.report.findings import cautions, findings
from hogwild.evaluation.report.words import describe

TEMPLATES = Path(__file__).parent
FORWARDS, SECONDS = "accuracy-forwards.png", "accuracy-seconds.png"


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write report.html (which needs no other file), report.md, two plots and summary.json.

    Returns:
        The paths, the reports first.

    Raises:
        MissingPackageError: matplotlib or Jinja is not installed.
    """
    summaries = comparison.summaries()
    title = comparison.task.title
    figures = {
        FORWARDS: plots.accuracy_against_forwards(summaries, title),
        SECONDS: plots.accuracy_against_seconds(summaries, title, comparison.side_by_side),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / name)
    facts = _facts(comparison)
    paths = []
    for name in ("report.html", "report.md"):
        drawings = (
            {key: plots.as_svg(figure) for key, figure in figures.items()} if name.endswith("html") else {}
        )
        text = _environment(name).get_template(f"{name}.j2").render(**facts, drawings=drawings)
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    return [*paths, *(folder / name for name in figures), write_summary(comparison, folder)]


def _facts(comparison: Comparison) -> dict[str, Any]:
    summaries = comparison.summaries()
    return {
        "task": comparison.task,
        "count": len(comparison.problems),
        "plan": comparison.plan,
        "side_by_side": comparison.side_by_side,
        "sampling": ", ".join(f"{name} {value}" for name, value in comparison.plan.sampling.items())
        or "as the model was published",
        "model": Path(comparison.model).name or "the model",
        "methods": [(method, describe(method)) for method in comparison.methods],
        "asking": asking(comparison.methods),
        "findings": findings(comparison),
        "cautions": cautions(comparison),
        "summaries": summaries,
        "percent": table.percent,
        "best": [
            max(s.budgets[i].accuracy.value for s in summaries) for i in range(len(comparison.plan.budgets))
        ],
        "header": table.HEADER,
        "rows": table.rows(summaries),
        "table": table.markdown(summaries),
        "explanation": table.EXPLANATION,
        "example": choose_example(comparison),
        "plots": (FORWARDS, SECONDS),
        "date": datetime.date.today().isoformat(),
        "version": hogwild.__version__,
    }


def _environment(name: str) -> Any:
    jinja2 = need("jinja2", "reports")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=name.endswith("html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
