"""Tickstock Pipeline: stock prices in, patterns out, on Dagster."""

__version__ = "0.1.0"
