"""An orchestra that does the work that other programs ask for."""

from tickstock_pipeline_tests.orchestra import orchestra

__all__ = ["orchestra"]
