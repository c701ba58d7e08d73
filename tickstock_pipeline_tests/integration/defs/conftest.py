"""An orchestra for tests that follow a job through Dagster."""

from tickstock_pipeline_tests.orchestra import orchestra

__all__ = ["orchestra"]
