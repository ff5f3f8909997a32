"""The trials of a search, which workers of one machine or several share, and those that a killed worker left behind.

They are in a journal in the search's folder (Optuna's `JournalStorage`), which a shared file system will do for, or in
a database, which other searches may share: there, they go by an id that the folder holds. What may not happen twice at
once is done under a lock of the folder: drawing a trial, counting those that there are, and taking over what was left.
A worker holds a lock of its own for as long as it lives; a trial that is running while its worker's lock is free has
lost its process. It is marked as failed, and enqueued again, to go on in its folder.
"""

from __future__ import annotations

import os
import socket
import uuid
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flexlora.errors import UsageError
from flexlora.files import write_whole
from flexlora.locks import is_held, waiting

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

JOURNAL = "trials.journal"
WORKERS = "workers"
NAME = "search"
ID = "search.id"
"""File in the folder; what its trials are called by in a database."""
ATTEMPTS = 3
"""Processes that a trial may lose before it counts as failed for good."""
STARTUP_DRAWS = 10
"""Trials that are drawn at random before the sampler learns from them."""


def require_optuna() -> None:
    """Refuse to search without Optuna, and keep it quiet where it is.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UsageError("search needs Optuna: pip install 'flexlora[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def open_trials(folder: Path, url: str | None = None) -> optuna.Study:
    """The trials of a folder: (source gain, target retention), both to be made great.

    Args:
        url: of a database, e.g. `postgresql://USER@HOST/NAME`; None for the journal in the folder.

    Raises:
        UsageError: there is no such database.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    require_optuna()
    storage: optuna.storages.BaseStorage
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        mend(folder / JOURNAL)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    else:
        try:
            storage = RDBStorage(url)
        except Exception as error:  # of SQLAlchemy, its drivers and the database
            raise UsageError(
                f"--storage {url}: cannot be opened ({type(error).__name__}: {error}). It is the URL of a database, "
                "e.g. sqlite:////folder/trials.db; without it trials are in the search's folder."
            ) from error
    return optuna.create_study(
        study_name=NAME if url is None else f"{NAME} {id_of(folder)}",
        directions=["maximize", "maximize"],
        storage=storage,
        load_if_exists=True,
    )


def id_of(folder: Path) -> str:
    """What tells the trials of this folder from those of others of its name; made once, and kept where it is moved."""
    path = folder / ID
    with once(folder, "id"):
        if not path.is_file():
            write_whole(path, f"{folder.resolve().name} {uuid.uuid4().hex}\n")
        return path.read_text(encoding="utf-8").strip()


def mend(journal: Path) -> None:
    """Cut off a last line that a killed process left torn; the next one would be lost with it."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if not journal.is_file() or journal.stat().st_size == 0:
        return
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def claiming(folder: Path) -> AbstractContextManager[None]:
    """The lock under which trials are drawn, counted and taken over."""
    return waiting(folder / ".claim.lock")


@contextmanager
def worker(folder: Path) -> Iterator[str]:
    """Be a worker of this folder: its name, and its lock for as long as the block lasts."""
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    path = folder / WORKERS / f"{name}.lock"
    with waiting(path):
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)


def is_alive(folder: Path, name: str | None) -> bool:
    """Whether a worker holds its lock."""
    return name is not None and is_held(folder / WORKERS / f"{name}.lock")


def take_over(study: optuna.Study, folder: Path) -> list[int]:
    """Mark trials whose process is gone as failed, and enqueue them again; to be called under `claiming`.

    Returns:
        Their numbers.
    """
    from optuna.trial import TrialState

    lost = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not is_alive(folder, trial.user_attrs.get("worker"))
    ]
    for trial in lost:
        study.tell(trial.number, state=TrialState.FAIL)
        if is_gone_on_with(trial):
            kept = {"folder": folder_of(trial), "attempt": attempt_of(trial) + 1}
            study.enqueue_trial(trial.params, user_attrs=kept)
    return [trial.number for trial in lost]


def is_gone_on_with(trial: FrozenTrial) -> bool:
    """Whether another process goes on with a trial that lost its own: there are values, and attempts left."""
    return bool(trial.params) and attempt_of(trial) < ATTEMPTS


def attempt_of(trial: FrozenTrial | optuna.Trial) -> int:
    """How many processes it has had, with this one."""
    return int(trial.user_attrs.get("attempt", 1))


def folder_of(trial: FrozenTrial | optuna.Trial) -> str:
    """A trial's run directory, relative to the search's: that of the trial that it goes on with, or its own."""
    return str(trial.user_attrs.get("folder", f"trials/{trial.number}"))


def sampler(seed: int, drawn: int) -> optuna.samplers.BaseSampler:
    """Optuna's TPE for several objectives, seeded by how many trials there are: workers draw no trial twice."""
    import optuna

    return optuna.samplers.TPESampler(
        seed=seed * 1_000_003 + drawn, multivariate=True, group=True, n_startup_trials=STARTUP_DRAWS
    )


def once(folder: Path, name: str) -> AbstractContextManager[None]:
    """A lock for what one worker does and the others wait for."""
    return waiting(folder / f".{name}.lock")
