"""The most memory in use since a moment: of the GPU what torch allocated, else the process's resident set (Linux)."""

from __future__ import annotations

from pathlib import Path

import torch

PROCESS = Path("/proc/self")


def reset_peak() -> bool:
    """Count from now on; False where nobody counts, as on a CPU without Linux's /proc."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        (PROCESS / "clear_refs").write_text("5")  # the peak resident set becomes the present one; see proc(5)
    except OSError:
        return False
    return True


def peak_gb() -> float:
    """In 10^9 bytes, since `reset_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = (PROCESS / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
