"""Several processes of one run, started by torchrun or `accelerate launch`: which this is, and who does what.

    torchrun --nproc_per_node 2 -m flexlora run RECIPE

Every process trains on its part of each step and generates its part of the samples. What is done once (checks, files,
running programs, the report) is the first process's, and the others wait for it or end. A launcher that was asked for
several processes and started one is found out, as that would train a recipe in another way without a word.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import yaml

from flexlora.errors import FlexError, UsageError

T = TypeVar("T")

PATIENCE = timedelta(days=2)
"""How long processes wait for each other: one may generate, or load a model, much longer than the others."""


class FailedElsewhere(FlexError):
    """The first process failed and says why itself; this one only ends."""


def count() -> int:
    """Processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def join() -> None:
    """Let the processes of a launcher find each other, each on a GPU of its own where there are any.

    Raises:
        UsageError: the launcher started one process where it was asked for several, or there are too few GPUs.
    """
    _refuse_a_launcher_that_started_one()
    if count() == 1:
        return
    import torch
    from accelerate import PartialState

    on_gpu, local = torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu and local >= torch.cuda.device_count():
        raise UsageError(
            f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}. Start as many "
            "processes on a machine as it has GPUs (torchrun --nproc_per_node)."
        )
    if on_gpu:
        torch.cuda.set_device(local)
    started = torch.distributed.is_initialized()  # by Ray Train, for example
    PartialState(cpu=not on_gpu, timeout=PATIENCE)
    if _Group.control is None:
        # A group of its own, on the processor: no GPU is kept busy by waiting.
        _Group.control, _Group.ours = torch.distributed.new_group(backend="gloo", timeout=PATIENCE), not started
    if (found := torch.distributed.get_world_size()) != count():
        raise UsageError(f"WORLD_SIZE is {count()}, and {found} processes have found each other; start them anew.")


def asked_to_shard() -> bool:
    """Whether a launcher asks for FSDP2, which is `train.sharding` here; Accelerate no longer does it as well then.

    Raises:
        UsageError: it asks for more than that.
    """
    asked = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")
    if not asked or os.environ.get("FSDP_VERSION", "1") != "2":
        return _Group.shards
    for variable, instead in _NOT_SHARDING.items():
        if os.environ.get(variable, "").lower() in ("1", "true"):
            raise UsageError(f"{variable} is set: {instead}.")
    del os.environ["ACCELERATE_USE_FSDP"]
    _Group.shards = True
    return True


_NOT_SHARDING = {
    "FSDP_OFFLOAD_PARAMS": "recipes keep the parts of a model on their GPUs; start more processes, and set "
    "`fsdp_offload_params: false` in Accelerate's config",
    "FSDP_ACTIVATION_CHECKPOINTING": "a recipe says it by train.gradient_checkpointing=true; set "
    "`fsdp_activation_checkpointing: false` in Accelerate's config",
}
"""What `accelerate launch` may ask for beside FSDP2, and what to do about it."""


def leave() -> None:
    """Wait until all processes are done, as the launcher of the last one may keep them together, and part."""
    if _Group.control is not None:
        wait()
    if _Group.ours:
        import torch.distributed

        torch.distributed.destroy_process_group()
        _Group.control, _Group.ours = None, False


class _Group:
    """What was found out and made in this process."""

    control: Any = None
    ours = False
    shards = False
    """Whether the launcher asked for it; Accelerate must not see that any more."""


def wait() -> None:
    """Until all processes are here."""
    if count() > 1:
        import torch.distributed

        torch.distributed.barrier(group=_Group.control)


def once(work: Callable[[], T]) -> T:
    """Let the first process do something, and give what comes of it to all; it must be picklable.

    Raises:
        FailedElsewhere: it failed; in the first process, its own error.
    """
    if count() == 1:
        return work()
    import torch.distributed

    answer: list[Any] = [None, False]
    error: BaseException | None = None
    if is_first():
        try:
            answer = [work(), True]
        except BaseException as caught:
            error = caught
    torch.distributed.broadcast_object_list(answer, group=_Group.control)
    if error is not None:
        raise error
    if not answer[1]:
        raise FailedElsewhere("the first process failed")
    result: T = answer[0]
    return result


def gathered(value: T) -> list[T]:
    """What every process has, in their order."""
    if count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value, group=_Group.control)
    return values


def mine(items: Sequence[T]) -> Sequence[T]:
    """This process's part of a sequence."""
    return items[rank() :: count()]


def _refuse_a_launcher_that_started_one() -> None:
    # Accelerate says on a CPU that it starts several, and starts one.
    if count() > 1 or "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return
    wanted = _asked_of_accelerate(_command_of(os.getppid()))
    if wanted > 1:
        raise UsageError(
            f"`accelerate launch` was asked for {wanted} processes and started one, as it does on a machine without a "
            f"GPU; use `torchrun --nproc_per_node {wanted} -m flexlora ...`, which starts them."
        )


def _command_of(process: int) -> list[str]:
    """The command line of a process; empty where the system does not tell."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _asked_of_accelerate(command: Sequence[str]) -> int:
    """The number of processes in a command line of `accelerate launch`, or in the configuration file that it names."""
    options: dict[str, str] = {}
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        options[name.replace("-", "_")] = value if equals else following
    if options.get("__num_processes", "").isdecimal():
        return int(options["__num_processes"])
    file = options.get("__config_file") or _default_configuration()
    try:
        return int((yaml.safe_load(Path(file).read_text()) or {}).get("num_processes", 1))
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return 1  # Accelerate itself has read it, or there is none


def _default_configuration() -> str:
    """Where `accelerate config` writes what holds for every `accelerate launch`."""
    from accelerate.commands.config import default_config_file

    return str(default_config_file)
