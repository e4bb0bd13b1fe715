"""imagewave: briefs in, accepted images out, every cent and pixel accounted for.

The public face is here: `import imagewave as iw`. What each name needs is imported when the name
is first used, so that importing imagewave itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagewave.api.answers import Answer, MissingLibrary, QueryError
    from imagewave.api.errors import (
        BudgetExceeded,
        ImagewaveError,
        NoStore,
        Rejected,
        SandboxWarning,
        StoreError,
        Unavailable,
        UnknownPrice,
        UnknownWave,
        WaveFileError,
    )
    from imagewave.api.pictures import Asset, Image, Lineage, Pictures
    from imagewave.api.results import OnceResult, RerunPlan, Result
    from imagewave.api.store import Store, query
    from imagewave.api.types import Plan, Progress, Status, Wave
    from imagewave.api.waves import (
        check_plan,
        compare,
        load,
        once,
        plan,
        plan_rerun,
        rerun,
        run,
    )

__version__ = "0.1.0"

_HOME = {
    "load": "waves",
    "plan": "waves",
    "compare": "waves",
    "check_plan": "waves",
    "run": "waves",
    "plan_rerun": "waves",
    "rerun": "waves",
    "once": "waves",
    "Store": "store",
    "query": "store",
    "Result": "results",
    "OnceResult": "results",
    "RerunPlan": "results",
    "Answer": "answers",
    "Pictures": "pictures",
    "Image": "pictures",
    "Asset": "pictures",
    "Lineage": "pictures",
    "Wave": "types",
    "Plan": "types",
    "Status": "types",
    "Progress": "types",
    "ImagewaveError": "errors",
    "WaveFileError": "errors",
    "BudgetExceeded": "errors",
    "StoreError": "errors",
    "NoStore": "errors",
    "UnknownWave": "errors",
    "UnknownPrice": "errors",
    "Rejected": "errors",
    "Unavailable": "errors",
    "SandboxWarning": "errors",
    "QueryError": "answers",
    "MissingLibrary": "answers",
}
"""The module of `imagewave.api` that each public name comes from."""

__all__ = [
    "Answer",
    "Asset",
    "BudgetExceeded",
    "Image",
    "ImagewaveError",
    "Lineage",
    "MissingLibrary",
    "NoStore",
    "OnceResult",
    "Pictures",
    "Plan",
    "Progress",
    "QueryError",
    "Rejected",
    "RerunPlan",
    "Result",
    "SandboxWarning",
    "Status",
    "Store",
    "StoreError",
    "Unavailable",
    "UnknownPrice",
    "UnknownWave",
    "Wave",
    "WaveFileError",
    "check_plan",
    "compare",
    "load",
    "once",
    "plan",
    "plan_rerun",
    "query",
    "rerun",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.api.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
