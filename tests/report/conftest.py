"""A fake run and a fake study for the whole session, and headless Chromium where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import Opened
from fake_run import make_run
from fake_study import make_study

from flexlora.evaluation import Summary
from flexlora.report import write_report
from flexlora.report.exports import write_exports
from flexlora.report.study_page import write_study_report
from flexlora.studies.findings import Findings

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    # The browser's own questions to its maker find nobody.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """A run directory with its report, and the summary."""
    run = tmp_path_factory.mktemp("fake") / "run"
    summary, prompts = make_run(run)
    write_report(run, summary, prompts)
    return run, summary


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings]:
    """A study's folder with its report, figures and tables, and the findings."""
    folder = tmp_path_factory.mktemp("study") / "controls"
    findings = make_study(folder)
    write_study_report(folder, findings)
    write_exports(folder, findings)
    return folder, findings


@pytest.fixture
def open_page(tmp_path: Path) -> Callable[[Path, str], Opened]:
    """(page, fragment) -> what Chromium made of it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    net_log = tmp_path / "net.json"
    # Chromium's own sandbox refuses to run as root, as CI containers do.
    flags = [
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--log-net-log={net_log}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]

    def opened(page: Path, fragment: str) -> Opened:
        command = [browser, *flags, "--dump-dom", f"{page.as_uri()}{fragment}"]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        console = [line for line in done.stderr.decode(errors="replace").splitlines() if ":CONSOLE" in line]
        return Opened(done.stdout.decode(), console, _asked_by_pages(json.loads(net_log.read_bytes())))

    return opened


@pytest.fixture
def dump_dom(open_page: Callable[[Path, str], Opened]) -> Callable[[Path, str], str]:
    """(page, fragment) -> the page's HTML after its script ran in Chromium."""
    return lambda page, fragment: open_page(page, fragment).dom


def _asked_by_pages(net_log: dict[str, Any]) -> list[str]:
    """Addresses that some page asked for; what the browser asks for itself has no page as its origin."""
    events = (event["params"] for event in net_log["events"] if isinstance(event.get("params"), dict))
    return [one["url"] for one in events if "url" in one and one.get("initiator") not in (None, "not an origin")]
