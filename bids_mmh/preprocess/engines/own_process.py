"""Python code of others, and code that needs PyTorch: where it runs, and what it said if it failed."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from traceback import format_exception_only

from bids_mmh.freed_memory import KEEP_FREED_MEMORY, freed_memory_kept


def run_apart(script: str, arguments: Sequence[str], *, result: Path, threads: int) -> str | None:
    """Run Python code that writes a file in a process of its own.

    Args:
        script: The code.
        arguments: What it finds in ``sys.argv[1:]``.
        result: File that it writes.
        threads: Number of CPU threads.

    Returns:
        None if there is a result, else the last line of what the code said.
    """
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", script, *arguments],
        env=os.environ | limits | KEEP_FREED_MEMORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and result.is_file():
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def run_with_torch(function: Callable[..., None], arguments: Sequence[str], *, threads: int) -> str | None:
    """Call a function that uses PyTorch.

    PyTorch takes seconds to load, makes a process heavy, and does not fork safely: a process that has done
    without it goes on without it. One that has it, since it harmonizes as well, need not load it once more.

    Args:
        function: Of a module; its last argument is the file that it writes.
        arguments: Of the function.
        threads: Number of CPU threads.

    Returns:
        None if there is a result, else the last line of what the function said.
    """
    module, name = function.__module__, function.__name__
    if "torch" not in sys.modules:
        script = f"import sys; from {module} import {name}; {name}(*sys.argv[1:])"
        return run_apart(script, arguments, result=Path(arguments[-1]), threads=threads)
    torch = import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with freed_memory_kept(), warnings.catch_warnings(action="ignore"):
            function(*arguments)
    except Exception as error:  # as from a process that ended with a traceback
        return format_exception_only(error)[-1].strip()
    finally:
        torch.set_num_threads(before)
    return None
