"""The engine `ray`: batches are mapped by Ray Data, on a Ray that is started for the run or on a cluster.

Each batch is one block of a dataset and goes to a worker whole, with its place in it; what the function makes of it comes
back as Arrow IPC bytes, so that Ray never sees, joins or converts an outcome. Invariant: a worker whose Graduand, or a
package that matters, is not this process' own is refused, since its outcomes might be other bytes. Must never leave a Ray
running that it started.
"""

import importlib
import importlib.util
import logging
import os
import socket
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pyarrow as pa

from graduand.gateway.errors import ConfigError, GraduandError
from graduand.training.engines.engine import EngineError, Function
from graduand.training.stages import stage

PLACE = "graduand_place"
RUNS = "run it again to go on"
ANSWERS_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Kin:
    """What must be the same in each worker: the modules whose change makes old outcomes stale, and versions."""

    modules: tuple[str, ...]
    packages: tuple[str, ...]
    code_sha256: str
    versions: dict[str, str]

    @classmethod
    def here(cls, modules: Sequence[ModuleType], packages: Sequence[str]) -> "Kin":
        """This process' own."""
        names, code = tuple(module.__name__ for module in modules), tuple(modules)
        return cls(names, tuple(packages), stage.code_sha256(code), stage.versions(tuple(packages)))

    def strangeness(self) -> str:
        """How the process that calls differs from the one that made this; empty if it does not."""
        own = Kin.here([importlib.import_module(name) for name in self.modules], self.packages)
        other = [
            f"{name} {own.versions[name]}" for name, version in self.versions.items() if own.versions[name] != version
        ]
        if other:
            return f"has {', '.join(other)}"
        return "has another Graduand of the same version" if own.code_sha256 != self.code_sha256 else ""


class RayData:
    """A Ray at `address`, or one of this machine's own (None) that ends with `close`. A worker has `cpus` processors."""

    def __init__(self, address: str | None, cpus: int, kin: Kin) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--engine ray needs Ray: pip install 'graduand[ray]'")
        self._address = address
        self._cpus = cpus
        self._kin = kin
        self._ray: Any = None
        self._ours = False

    @property
    def workers(self) -> int:
        """As many as the processors are enough for; starts Ray, or connects to it."""
        processors = int(self._started().cluster_resources().get("CPU", 0))
        if processors < self._cpus:
            where = f"the Ray at {self._address}" if self._address else "this machine"
            raise EngineError(
                f"{where} has {processors} processors, and a worker needs {self._cpus}; give --threads fewer"
            )
        return processors // self._cpus

    def map(
        self, function: Function, batches: Sequence[pa.Table], most: int | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Each batch's place and outcome as they come. A worker's error ends the map, and says which rows and where."""
        ray = self._started()
        workers = max(1, min(most or self.workers, self.workers, len(batches)))
        try:
            sent = ray.data.from_arrow([_placed(place, batch) for place, batch in enumerate(batches)])
            pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers)
            arguments = function, self._kin, [batch.num_rows for batch in batches]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # ray_remote_args_fn is to go in 2.64; this is the Ray that is pinned
                made = sent.map_batches(
                    _Worker, fn_constructor_args=arguments, batch_size=None, batch_format="pyarrow", compute=pool,
                    num_cpus=self._cpus, ray_remote_args_fn=_once,
                )  # fmt: skip
            # Without looking ahead: an outcome that has come is told at once.
            for block in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for line in block.to_pylist():
                    yield line["place"], _outcome(line)
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray could not go on: {_first_line(error)}; {RUNS}") from error

    def close(self) -> None:
        """End what this process started; a Ray that was there before is left as it was."""
        if self._ours:
            self._ray.shutdown()
        self._ray, self._ours = None, False

    def _started(self) -> Any:
        if self._ray is None:
            self._ray = imported()
            if not self._ray.is_initialized():
                self._connect()
            context = self._ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            context.execution_options.preserve_order = False  # outcomes name their places
        return self._ray

    def _connect(self) -> None:
        own = {} if self._address else {"include_dashboard": False}
        try:
            _answers(self._address)
            self._ours = True  # also if Ctrl-C comes now, when Ray has started half
            self._ray.init(self._address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            where = f"connect to the Ray at {self._address}" if self._address else "start a Ray on this machine"
            raise EngineError(
                f"cannot {where}: {_first_line(error)}; check --ray-address, or use --engine local"
            ) from error


def _answers(address: str | None) -> None:
    """OSError if nothing listens there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), ANSWERS_WITHIN_S).close()


def _once() -> dict[str, int]:
    """A worker that dies stays dead: Ray would give its batch to others for ever, also one that kills whoever has it, or
    one whose questions were paid for."""
    return {"max_restarts": 0, "max_task_retries": 0}


class _Worker:
    """In a process of Ray's: the function, and whether it may run here. Errors go back as values, to be told in one line."""

    def __init__(self, function: Function, kin: Kin, rows: list[int]) -> None:
        self._function = function
        self._strangeness = kin.strangeness()
        self._rows = rows

    def __call__(self, block: pa.Table) -> pa.Table:
        [place] = set(block[PLACE].to_pylist())
        batch = block.drop_columns(PLACE)
        if self._strangeness:
            return _line(
                place,
                failure=f"a Ray worker on {socket.gethostname()} {self._strangeness}: install the same",
            )
        if batch.num_rows != self._rows[place]:
            return _line(place, failure=f"Ray cut a batch of {self._rows[place]} rows; this is a bug in Graduand")
        try:
            return _line(place, outcome=_packed(self._function(batch)))
        except Exception as error:
            return _line(place, failure=_said(error, batch), usage=isinstance(error, ConfigError))


def _placed(place: int, batch: pa.Table) -> pa.Table:
    return batch.append_column(PLACE, pa.array([place] * batch.num_rows, pa.int64()))


def _line(place: int, outcome: bytes = b"", failure: str = "", usage: bool = False) -> pa.Table:
    types = {"place": pa.int64(), "outcome": pa.large_binary(), "failure": pa.string(), "usage": pa.bool_()}
    line = {"place": place, "outcome": outcome, "failure": failure, "usage": usage}
    return pa.Table.from_pylist([line], pa.schema(types))


def _packed(outcome: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, outcome.schema) as stream:
        stream.write_table(outcome)
    return bytes(sink.getvalue())


def _outcome(line: dict[str, Any]) -> pa.Table:
    if line["failure"]:
        raise (ConfigError if line["usage"] else EngineError)(line["failure"])
    return pa.ipc.open_stream(line["outcome"]).read_all()


def _said(error: Exception, batch: pa.Table) -> str:
    """What went wrong, in which rows and where, in a line."""
    ids = batch["id"].to_pylist()
    where = f"rows {ids[0]} to {ids[-1]}, on {socket.gethostname()}"
    if isinstance(error, GraduandError):
        return f"{error} ({where})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return f"a Ray worker failed: {type(error).__name__}: {_first_line(error)} at {at} ({where})"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def imported() -> Any:
    """Ray, which does not report home and keeps its notes out of a command's output."""
    # Read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
