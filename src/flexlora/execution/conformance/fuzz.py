"""Random mixtures of hostile and honest programs through the real queue, for as long as one likes.

    python -m flexlora.execution.conformance.fuzz --seconds 3600

Programs come in rounds. Of each, the verdicts are compared with what they must be; after each, when all is quiet, this
looks for what was left: processes, mounts, cgroups, files, open descriptors, and memory, of ours and of the sandboxes.
Programs that are not in the suite are made of pieces: several attacks one after the other, then an assertion that
fails, so that they must not pass.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from flexlora.execution import cgroups
from flexlora.execution.conformance.bait import Bait, below_us
from flexlora.execution.conformance.behaviour import HARM
from flexlora.execution.conformance.suite import behaviours
from flexlora.execution.languages import ToolchainMissing, get_language, toolchain
from flexlora.execution.local_pool import LocalPool
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.verdict import Program, Status, Verdict

ROUND = 60
HONEST = ("py", "js", "java", "ts", "cpp", "sh")
SETUP = "import array, ctypes, mmap, os, random, signal, socket, subprocess, sys, threading, time\n"
PIECES = (
    "if os.fork() == 0: time.sleep(1000)",
    "for _ in range(30):\n  try:\n    if os.fork() == 0: os._exit(0)\n  except OSError: pass",
    "subprocess.Popen(['sh', '-c', 'sleep 1000; true', '$marker'], start_new_session=True)",
    "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "for s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass",
    "for fd in range(3, 50):\n  try: os.close(fd)\n  except OSError: pass",
    "for fd in range(3, 50):\n  try: os.write(fd, os.urandom(100))\n  except OSError: pass",
    "os.write(2, os.urandom(10_000))",
    "try: x = bytearray(random.choice([1 << 20, 1 << 28, 1 << 31]))\nexcept MemoryError: pass",
    "try: m = mmap.mmap(-1, 1 << 28); m[0] = m[-1] = 1\nexcept OSError: pass",
    "for i in range(50): open(str(i), 'wb').write(bytes(random.randrange(1 << 16)))",
    "os.mkfifo('fifo'); os.symlink('/', 'root'); os.chmod('.', 0o000)",
    "os.chmod('.', 0o700)",
    "a, b = socket.socketpair(); a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1]))])",
    "s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen(); socket.create_connection(s.getsockname())",
    "os.setsid() if os.getpid() != os.getsid(0) else os.nice(19)",
    "for pid in range(1, 20):\n  try:\n    if pid != os.getpid(): os.kill(pid, random.choice([0, 2, 9, 15, 19]))\n"
    "  except OSError: pass",
    "ctypes.CDLL(None).syscall(random.randrange(450), 0, 0, 0, 0, 0)",
    "ctypes.CDLL(None).prctl(random.randrange(70), 1, 0, 0, 0)",
    "sys.setrecursionlimit(10**6)",
    "sys.stdout.close()",
    "os.dup2(1, 0)",
    "import builtins; builtins.print = builtins.open = builtins.len = None",
)


@dataclass(slots=True)
class Traces:
    """What there is between two rounds."""

    processes: int
    """Ours and those of the sandboxes that stay."""
    mounts: int
    cgroups: int
    files: int
    """In the folder for temporary files, with our names."""
    descriptors: int
    own_mib: float
    """Memory of this process."""
    sandboxes_mib: float
    """Memory of all processes below it: supervisors, compilers that stay."""


@dataclass(slots=True)
class Report:
    """What a fuzz run found."""

    programs: Counter[str] = field(default_factory=Counter)
    """Kind -> how many were run."""
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    traces: list[Traces] = field(default_factory=list)


def fuzz(*, seed: int, workers: int, seconds: float = 0.0, rounds: int = 1, slow: bool = True) -> Report:
    """Run rounds of random programs until both the time is over and the rounds are done.

    Args:
        slow: also programs that need a second or more, such as those that end at a deadline.
    """
    random_ = random.Random(seed)
    report = Report()
    until = time.monotonic() + seconds
    before = set(_ours())  # this process may have other pools
    with Bait() as bait, closing(LocalPool(workers, Mode.WARM, False, Sandbox.BUBBLEWRAP)) as pool:
        while len(report.traces) < rounds or time.monotonic() < until:
            expected = {str(i): one for i, one in enumerate(_mixture(random_, bait, slow))}
            for key, one in expected.items():
                pool.submit(key, one.program)
            for _ in expected:
                done = pool.next(wait=True)
                assert done is not None
                key, verdict = done
                report.programs[expected[key].kind] += 1
                report.statuses[verdict.status] += 1
                report.problems += expected[key].problems(verdict)
            report.problems += bait.harm("")
            report.traces.append(_traces())
    report.problems += [f"left at the end: {trace}" for trace in _ours() if trace not in before]
    return report


@dataclass(frozen=True, slots=True)
class _Expected:
    kind: str
    program: Program
    statuses: frozenset[Status]
    """That it may end in."""

    def problems(self, verdict: Verdict) -> Iterator[str]:
        said = verdict.stdout + verdict.stderr
        harm = any(line.startswith(HARM) for line in said.splitlines())
        if verdict.status not in self.statuses or harm:
            yield f"{self.kind}: {verdict.status}, {said[-300:]!r}, of\n{self.program.source}"


def _mixture(random_: random.Random, bait: Bait, slow: bool) -> Iterator[_Expected]:
    hostile = [one for one in behaviours() if _installed(one.language) and (slow or Status.TIMEOUT not in one.ends)]
    honest = [language for language in HONEST if _installed(language)]
    for number in range(ROUND):
        draw = random_.random()
        if draw < 0.25:
            one = random_.choice(hostile)
            if one.needs_memory_cgroup and "memory" not in cgroups.in_force():
                continue
            source = one.source(bait)
            program = Program("hostile", number, one.language, source, one.timeout_s)
            yield _Expected(f"hostile: {one.id}", program, frozenset(one.ends))
        elif draw < 0.5:
            pieces = "\n".join(random_.choices(PIECES, k=random_.randrange(1, 6))).replace("$marker", bait.marker)
            program = Program("pieces", number, "py", f"{SETUP}{pieces}\nassert 1 == 2\n", 3.0)
            yield _Expected("pieces", program, frozenset(Status) - {Status.OK, Status.INFRASTRUCTURE_ERROR})
        else:
            language, right = get_language(random_.choice(honest)), random_.random() < 0.5
            source = (language.known_good if right else language.known_bad) + "\n" * random_.randrange(1000)
            status = Status.OK if right else Status.EXCEPTION
            yield _Expected(f"honest: {language.code}", Program("honest", number, language.code, source),
                            frozenset({status}))  # fmt: skip


def _installed(language: str) -> bool:
    try:
        toolchain(language)
    except ToolchainMissing:
        return False
    return True


def _traces() -> Traces:
    below = below_us()
    return Traces(
        processes=len(below),
        mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        cgroups=len(_own_cgroups()),
        files=len(list(Path(tempfile.gettempdir()).glob("flexlora-*"))),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        own_mib=_mib(os.getpid()),
        sandboxes_mib=sum(map(_mib, below)),
    )


def _ours() -> list[str]:
    """Processes and cgroups of this process, in words."""
    return [*(f"process {pid}" for pid in below_us()), *(f"cgroup {path}" for path in _own_cgroups())]


def _own_cgroups() -> list[Path]:
    return [path for place in cgroups.places() for path in place.parent.glob(f"flexlora-{os.getpid()}-*")]


def _mib(pid: int) -> float:
    """Resident memory; 0 of a process that ended."""
    try:
        pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    report = fuzz(seed=arguments.seed, workers=arguments.workers, seconds=arguments.seconds)
    kinds: Counter[str] = Counter()
    for kind, count in report.programs.items():
        kinds[kind.partition(":")[0]] += count
    print(f"{report.programs.total()} programs in {len(report.traces)} rounds: {dict(kinds)}")
    print(f"verdicts: {dict(report.statuses)}")
    quarter = max(1, len(report.traces) // 4)
    print("| between rounds | first quarter | last quarter | most |\n|---|---|---|---|")
    for name in Traces.__slots__:
        values = [float(getattr(trace, name)) for trace in report.traces]
        cells = (
            name,
            *(f"{value:.4g}" for value in (median(values[:quarter]), median(values[-quarter:]), max(values))),
        )
        print(f"| {' | '.join(cells)} |")
    print(f"{len(report.problems)} problems")
    for problem in report.problems:
        print(problem)
    raise SystemExit(bool(report.problems))


if __name__ == "__main__":
    main()
