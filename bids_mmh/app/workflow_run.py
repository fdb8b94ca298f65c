"""Running a Nipype graph and understanding what failed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype import Workflow

from bids_mmh.app.settings import Settings
from bids_mmh.errors import ExitCode, UsageError

_ERROR_LINE = re.compile(
    r"^(?:bids_mmh\.errors\.)?(\w+(?:Error|Exception|Interrupt)\w*): ?(.*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Failure:
    """A node that failed: its session's node name, one sentence, and the exit code it asks for."""

    session: str
    sentence: str
    code: ExitCode
    crash_file: Path


def run_graph(graph: Workflow, settings: Settings, crash_dir: Path) -> list[Failure]:
    """Run a graph to its end, whatever fails in it, and return the failures.

    Raises:
        UsageError: the plugin file cannot be used.
    """
    graph.config["execution"] = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
        "poll_sleep_duration": "0.05",
        "check_version": "false",
        "remove_unnecessary_outputs": "false",
    }
    graph.config["logging"] = {"log_to_file": "false"}
    graph.config["monitoring"] = {"enabled": str(settings.resource_monitor).lower()}
    known = set(crash_dir.glob("crash-*.txt")) if crash_dir.is_dir() else set()
    crash_dir.mkdir(parents=True, exist_ok=True)
    try:
        graph.run(**plugin(settings))
    except Exception:
        failures = _read_failures(crash_dir, known)
        if not failures:  # not a node but the engine itself
            raise
        return failures
    return _read_failures(crash_dir, known)


def plugin(settings: Settings) -> dict[str, Any]:
    """Nipype's plugin and its arguments: the user's file, or MultiProc within the processes asked for."""
    if settings.nipype_plugin_file is not None:
        return _plugin_from_file(settings.nipype_plugin_file)
    if settings.nprocs == 1:
        return {"plugin": "Linear"}
    arguments: dict[str, Any] = {
        "n_procs": settings.nprocs,
        "raise_insufficient": False,
        # A forked child of a process that has run torch can hang for ever.
        "mp_context": "forkserver",
        "maxtasksperchild": 1,
    }
    if settings.mem is not None:
        arguments["memory_gb"] = settings.mem
    return {"plugin": "MultiProc", "plugin_args": arguments}


def _plugin_from_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"The Nipype plugin file {path} cannot be read: {error}.") from error
    if not isinstance(content, dict) or "plugin" not in content or set(content) - {"plugin", "plugin_args"}:
        raise UsageError(
            f"The Nipype plugin file {path} needs the keys 'plugin' and, if wanted, 'plugin_args'."
        )
    return content


def _read_failures(crash_dir: Path, known: set[Path]) -> list[Failure]:
    return [_read_failure(path) for path in sorted(set(crash_dir.glob("crash-*.txt")) - known)]


def _read_failure(path: Path) -> Failure:
    """Read the sentence of a crash file; the last error line that it holds is the cause."""
    text = path.read_text(encoding="utf-8", errors="replace")
    node = re.search(r"^Node: (?:[\w-]+\.)?([\w-]+)\.[\w-]+$", text, re.MULTILINE)
    errors = [match for match in _ERROR_LINE.findall(text) if match[0] != "NodeExecutionError"]
    name, sentence = errors[-1] if errors else ("Unknown", "The step failed without saying why")
    code = error_codes().get(name)
    if code is None:
        code = ExitCode.IO if name in {"OSError", "PermissionError"} else ExitCode.DATA
        sentence = f"{name}: {sentence} (details in {path})"
    return Failure(node.group(1) if node else "", sentence, code, path)


def error_codes() -> dict[str, ExitCode]:
    """Exit code of every error class that is meant for people, by class name."""
    from bids_mmh.errors import BidsMmhError

    return {cls.__name__: cls.code for cls in [BidsMmhError, *BidsMmhError.__subclasses__()]}
