"""Front ends of other libraries, one module or package for each, which importing this package finds and imports.

None imports its library: transforms are registered by qualified names, and what else is needed of a library is imported
where an object of it has come.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
