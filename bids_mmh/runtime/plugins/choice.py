"""What carries out the steps of a run: Nipype's plugin and its arguments, by options or a user's file."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any

from nipype import Node, Workflow
from nipype.pipeline.plugins.base import DistributedPluginBase, PluginBase

from bids_mmh.errors import UsageError
from bids_mmh.runtime.devices import gpus_of
from bids_mmh.runtime.plugins.session_plugin import SessionPlugin, WholeGraphs
from bids_mmh.settings import Settings

logger = logging.getLogger(__name__)

HARMONIZE_GB = 3.0  # peak of the embedded model at 1 mm, docs/performance.md
_LEAST_GB = 0.5  # with next to nothing Nipype's scheduler would never start a step
_LOCAL = {"Linear", "Debug", "MultiProc", "LegacyMultiProc"}


@dataclass(frozen=True)
class PluginChoice:
    """A Nipype plugin.

    Attributes:
        name: what Nipype calls it; ``Dask`` is this program's own.
        arguments: its ``plugin_args``.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether steps run on this machine; elsewhere there may be GPUs that this one has not."""
        return self.name in _LOCAL

    @property
    def poll_seconds(self) -> float:
        """How long to wait between two looks at what has ended; a batch system is asked less often."""
        by_default = 0.05 if self.is_local else 0.2 if self.name == "Dask" else 5.0
        return float(self.arguments.get("poll_sleep_duration", by_default))


def choose_plugin(settings: Settings) -> PluginChoice:
    """Choose the plugin: the user's file, or as many processes as were asked for.

    Raises:
        UsageError: the plugin file cannot be used.
    """
    if settings.nipype_plugin_file is not None:
        return _read_plugin_file(settings.nipype_plugin_file)
    return PluginChoice("Linear" if settings.nprocs == 1 else "MultiProc")


def plugin_for_run(
    choice: PluginChoice,
    settings: Settings,
    *,
    callbacks: Sequence[Callable[..., None]],
    log_file: Path | None,
) -> SessionPlugin | WholeGraphs:
    """Make the plugin.

    Args:
        choice: which one.
        settings: options of the run.
        callbacks: each called with a node and ``start``, ``end`` or ``exception``.
        log_file: where worker processes log to.

    Raises:
        UsageError: there is no such plugin, Dask is not installed, or its cluster does not fit.
    """

    def status_callback(node: Node, status: str) -> None:
        for callback in callbacks:
            callback(node, status)

    arguments = {"n_procs": settings.nprocs, **choice.arguments, "status_callback": status_callback}
    workers = {"log_file": log_file, "measure_memory": settings.profile}
    if choice.name == "MultiProc":
        from bids_mmh.runtime.plugins.multiproc_plugin import SteadyMultiProcPlugin

        return SteadyMultiProcPlugin(_multiproc_arguments(settings) | arguments | workers)
    if choice.name == "Dask":
        from bids_mmh.runtime.plugins.dask_plugin import DaskPlugin

        return DaskPlugin(arguments | workers)
    # Nipype's batch plugins name their jobs by it, and a clean environment lacks it.
    os.environ.setdefault("LOGNAME", _user())
    plugin = _nipype_plugin(choice.name)
    if issubclass(plugin, DistributedPluginBase):
        return type(plugin.__name__, (SessionPlugin, plugin), {})(plugin_args=arguments)
    return WholeGraphs(plugin(plugin_args=arguments))


def _nipype_plugin(name: str) -> type[PluginBase]:
    from nipype.pipeline import plugins

    plugin: type[PluginBase] | None = getattr(plugins, f"{name}Plugin", None)
    if plugin is None:
        raise UsageError(f"Nipype has no plugin {name!r}: name another one in the plugin file.")
    return plugin


def request_resources(choice: PluginChoice, graph: Workflow) -> None:
    """Let each step ask the batch system for its cores, memory and GPU; the user's file comes last and wins.

    Args:
        choice: the plugin; only SLURM is asked.
        graph: what it will run.
    """
    if choice.name != "SLURM":
        return
    gpu = choice.arguments.get("gpu_sbatch_args", "--gres=gpu:1")
    for name in graph.list_node_names():
        node = graph.get_node(name)
        wanted = f"--cpus-per-task={node.n_procs} --mem={math.ceil(node.mem_gb * 1000)}M"
        parts = [wanted, gpu if node.is_gpu_node() else "", choice.arguments.get("sbatch_args", "")]
        node.plugin_args = {"sbatch_args": " ".join(filter(None, parts)), "overwrite": True}


def _multiproc_arguments(settings: Settings) -> dict[str, Any]:
    gpus = gpus_of(settings.device)
    arguments: dict[str, Any] = {
        "n_gpu_procs": max(len(gpus), 1),  # a step a GPU
        "gpus": gpus,
        "raise_insufficient": False,
    }
    if settings.mem is not None:
        arguments["memory_gb"] = max(settings.mem, _LEAST_GB)
        if settings.mem < HARMONIZE_GB:
            logger.warning(
                "--mem %g GB is less than the largest step may need (%g GB): such steps run alone.",
                settings.mem,
                HARMONIZE_GB,
            )
    return arguments


def _user() -> str:
    try:
        return getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return str(os.getuid())


def _read_plugin_file(path: Path) -> PluginChoice:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"The Nipype plugin file {path} cannot be read: {reason}.") from error
    if not isinstance(content, dict) or "plugin" not in content or set(content) - {"plugin", "plugin_args"}:
        raise UsageError(
            f"The Nipype plugin file {path} needs the keys 'plugin' and, if wanted, 'plugin_args'."
        )
    arguments = content.get("plugin_args") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"The Nipype plugin file {path}: 'plugin_args' must be names with values.")
    return PluginChoice(str(content["plugin"]), arguments)
