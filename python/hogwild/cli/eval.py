"""`hogwild eval`: one method on a task. Several into one folder make a comparison."""

from __future__ import annotations

from hogwild.cli.compare import CompareRequest, check_runs, run_all, show


def evaluate(request: CompareRequest) -> None:
    """Runs the request; the table and the plots also have the methods that the folder has already.

    Raises:
        HogwildError, ValueError: a bad request, before the model is loaded.
        RunFailed: not one run ended as it should.
    """
    from hogwild.cli import listening
    from hogwild.evaluation.comparison import gather
    from hogwild.evaluation.listening import is_listened_to

    if all(is_listened_to(method) for method in request.methods):
        listening.evaluate(request)
        return
    comparison = run_all(request)
    show(request, gather(comparison, request.folder))
    check_runs(request, comparison.records.values())
