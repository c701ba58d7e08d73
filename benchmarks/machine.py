"""What the figures were measured on."""

import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("numpy", "TA-Lib", "pandas", "pandas-ta-classic")


def description() -> str:
    """Processor, cores, system, versions, load and date, in a line or two."""
    load = f"load {os.getloadavg()[0]:.1f}, " if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, {load}{date.today()}\n"
        f"Python {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
