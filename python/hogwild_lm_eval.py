"""Tells lm-evaluation-harness of our model, for releases of it that do not find models of other packages.

Releases after 0.4.13 read the entry point that pyproject.toml declares. For older ones `hogwild_lm_eval.pth` calls
`install` when Python starts, which waits until somebody imports the harness's models and then adds a name to them.
Both files stand beside the packages, since importing `hogwild` for this would slow every start of Python. What is
imported here must be loaded anyhow by then. `HOGWILD_LM_EVAL=0` in the environment keeps all of it out.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

NAME = "hogwild"
MODEL = "hogwild.evaluation.harness:HogwildLM"  # imported when somebody asks for the name
_MODELS = "lm_eval.models"  # the module that fills the harness's registry


def install() -> None:
    """Has `register` called behind the code of the harness's models, whenever they are imported."""
    if not any(isinstance(finder, _ModelsFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ModelsFinder())


def register() -> None:
    """Add our model to the harness's registry, unless it is there or the harness finds it by itself."""
    from lm_eval.api import registry

    models = getattr(registry, "model_registry", None)  # releases before 0.4.10 have none
    if models is not None and not hasattr(registry, "load_plugins") and NAME not in models:
        models.register(NAME, target=MODEL)


class _ModelsFinder:
    """Finds one module, as the other finders do, and lets `register` follow its code."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODELS:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register()

            # a loader belongs to one spec
            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
