"""Programs in operations that every runtime has: float32 products that stay exact, gathers, rounding and clipping."""

from __future__ import annotations

from onelayer.backends.portable.steps import NotPortableError, Step, portable_steps

__all__ = ["NotPortableError", "Step", "portable_steps"]
