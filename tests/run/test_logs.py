"""What a run shows of itself: log.csv, TensorBoard's event files, the progress line."""

import errno
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fphi.errors import FphiError
from fphi.run.meta.loggers import named_loggers
from fphi.run.meta.logs import CsvLog, LoggerLog, LogRow, open_logs
from fphi.run.meta.training import Training
from fphi.run.show.progress import progress_line

HEADER = "step,train_loss,validation_accuracy,validation_loss,learning_rate,seconds\n"


def row(step: int) -> LogRow:
    return LogRow(step, train_loss=1 / step, learning_rate=1e-3, seconds=step / 7)


def test_a_row_keeps_every_bit_and_leaves_unmeasured_cells_empty(tmp_path: Path) -> None:
    with open_logs(tmp_path, 0) as logs:
        logs[0].write(LogRow(3, 1 / 3, 1e-3, 0.12345))
        logs[0].write(LogRow(4, 0.1, 1e-3, 1.0, validation_accuracy=0.75, validation_loss=2 / 3))
    assert (tmp_path / "log.csv").read_text() == (
        HEADER + "3,0.3333333333333333,,,0.001,0.123\n4,0.1,0.75,0.6666666666666666,0.001,1.000\n"
    )


def test_each_row_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "log.csv")
    log.write(row(1))
    assert (tmp_path / "log.csv").read_text().endswith("\n1,1.0,,,0.001,0.143\n")
    log.close()


@given(st.integers(0, 12), st.integers(0, 400), st.binary(max_size=20))
def test_going_on_from_a_step_keeps_the_whole_rows_up_to_it(
    tmp_path_factory: pytest.TempPathFactory, step: int, cut: int, garbage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "log.csv"
    path.unlink(missing_ok=True)
    log = CsvLog(path)
    for written in range(1, 11):
        log.write(row(written))
    log.close()
    left = path.read_bytes()[:cut]
    path.write_bytes(left + garbage.replace(b"\n", b""))

    CsvLog(path, step).close()
    whole = [line for line in left.decode().splitlines(keepends=True)[1:] if line.endswith("\n")]
    assert path.read_text() == HEADER + "".join(whole[:step])


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = CsvLog(tmp_path / "log.csv")
    log.close()
    monkeypatch.setattr(log, "_file", Full())
    with pytest.raises(FphiError, match=r"log\.csv: the disk is full"):
        log.write(row(1))


def test_tensorboard_reads_the_rows_and_forgets_those_that_are_written_again(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, end in ((0, 5), (3, 6)):
        (named,) = named_loggers("csv,tensorboard", tmp_path, start)
        log = LoggerLog(named)
        for step in range(start + 1, end + 1):
            log.write(row(step))
        log.sync()
        log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("train_loss")] == [1, 2, 3, 4, 5, 6]
    assert [e.value for e in events.Scalars("train_loss")] == pytest.approx([1 / s for s in range(1, 7)])
    assert "validation_loss" not in events.Tags()["scalars"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, show: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_line(4, Training(steps=10, meta_batch=8, log_every=4), show) as line:
        for step in range(5, 11):
            line(step, 0.5, 0.9 if step > 6 else None)
    return stream.getvalue()


def test_off_a_terminal_there_is_a_plain_line_every_few_steps_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = shown(monkeypatch, io.StringIO()).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 8/10", "step 10/10"]
    assert lines[1].split("  ")[1:3] == ["loss 0.5000", "validation accuracy 90.00%"]
    assert lines[1].endswith("tasks/s  0:00:00 left")


def test_on_a_terminal_the_line_ends_with_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    assert "step 10/10  loss 0.5000  validation accuracy 90.00%" in shown(monkeypatch, Terminal())


def test_no_progress_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, Terminal(), show=False) == ""
