"""Shared fixtures: the real benchmark data where it is at hand, and small random models of several families."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Tests run side by side, a process a core: torch's own threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# They are about values, which a GPU rounds in its own way, and have their inputs on the processor. Those that need one
# are run by `FLEXLORA_TEST_GPU=1 pytest tests/training/test_graphs.py`.
if os.environ.get("FLEXLORA_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("FLEXLORA_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

OWN_CACHE = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """A cache of this test session's own, which its parallel processes share; every user may read it."""
    if "FLEXLORA_CACHE" not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="flexlora-tests-"))
        folder.chmod(0o755)
        os.environ["FLEXLORA_CACHE"] = str(folder)
        config.stash[OWN_CACHE] = folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave `thorough` tests, and those of the heavy languages, to `make test-languages`."""
    if not os.environ.get("FLEXLORA_ALL_TOOLCHAINS"):
        for item in items:
            for name in ("thorough", "toolchains"):
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"{name}: `make test-languages` runs it"))


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(OWN_CACHE, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real benchmark files; tests that need it skip where it is missing."""
    if not (DATA / "humaneval.jsonl").is_file():
        pytest.skip(f"benchmark data not found in {DATA}; set FLEXLORA_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small models of this test session are kept."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def small_model(models_dir: Path) -> Path:
    """A small random Llama with a tokenizer, as a Hugging Face folder."""
    from small_models import make_model

    return make_model(models_dir / "llama", "llama")


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """A data folder with a few records in the layout of the real one."""
    from small_benchmark import write_benchmark

    return write_benchmark(tmp_path / "data")
