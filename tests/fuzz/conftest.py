"""By hand (FPHI_FUZZ=5000) the end of the report says what was tried."""

import pytest

from fuzzing import COUNT, peak, tally


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COUNT is not None:
        for target, count in sorted(tally.items()):
            terminalreporter.write_line(f"{count:6} {target}")
        terminalreporter.write_line(f"{peak() // 2**20:6} MB at most")
