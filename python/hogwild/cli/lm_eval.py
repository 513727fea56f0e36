"""`hogwild lm-eval`: lm-evaluation-harness with our model, also in a source tree that is not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from unittest import mock

from hogwild.evaluation.extras import need


def lm_eval(arguments: Sequence[str]) -> None:
    """Runs the harness's own command with our models registered.

    Raises:
        MissingPackageError: the harness is not installed.
    """
    need("lm_eval", "hogwild lm-eval", extra="lm-eval")
    need("hogwild.evaluation.harness", "hogwild lm-eval", extra="lm-eval")
    from lm_eval.__main__ import cli_evaluate

    with mock.patch.object(sys, "argv", ["lm_eval", *arguments]):
        cli_evaluate()
