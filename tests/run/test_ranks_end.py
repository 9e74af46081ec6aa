"""Ranks that are gone before they have met the others: nobody waits for them, and somebody says so."""

import logging
import os
import signal
from pathlib import Path

import pytest

from forked import Forked
from fphi.run.meta.ranks import _watch_each_other
from rank_fakes import first_rank
from search_fakes import alive
from waiting import wait_until

LAUNCHER = "lightning_fabric.strategies.launchers.subprocess_script"


def test_a_rank_ends_when_the_first_one_is_gone(tmp_path: Path) -> None:
    process = Forked(first_rank, tmp_path / "other")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    other = int((tmp_path / "other").read_text())
    wait_until(lambda: not alive(other))


@pytest.mark.parametrize("code", [-9, -15, 1])
def test_the_first_rank_says_that_another_has_ended(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = pytest.importorskip(LAUNCHER)

    class Ended:
        pid, returncode = 1, code

        def poll(self) -> None:
            pass

    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FPHI_FIRST_RANK", "")
    log = logging.getLogger(LAUNCHER)
    for name in ("level", "propagate", "handlers"):
        monkeypatch.setattr(log, name, getattr(log, name))
    _watch_each_other()
    observer = launcher._ChildProcessObserver(os.getpid(), [Ended()])
    monkeypatch.setattr(observer, "_terminate_all", lambda: None)
    assert observer._run()
    said = capsys.readouterr().err
    assert (said.count("\n"), said.endswith("with --resume\n")) == (1, True)
    assert said.startswith("fphi: error: another training process ended before its time; ")
