"""Where candidates are evaluated: results do not depend on it, and what goes wrong is told of its candidate only."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fphi.errors import FphiError
from fphi.learnable.space import Candidate
from fphi.objective.outcome import WORST, Outcome
from fphi.optimize.ask_tell import RandomSearch, SearchOptimizer
from fphi.run.search.executors import InThisProcess, OnRay, Processes, make_executor
from fphi.run.search.history import History
from fphi.run.search.loop import Budget, search
from fphi.run.search.processes import ProcessDiedError
from search_fakes import SecondFirst, Sleeps, TinySpace, alive, fine, loss_of, threads, troubled
from waiting import PATIENCE, Clock, wait_until

TESTS = Path(__file__).parent.parent
WITH_TESTS = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    executor = Processes(2)
    yield executor
    executor.close()


def outcomes(history: History) -> dict[int, Outcome]:
    return {record.candidate.number: record.outcome for record in history.records}


def candidate(number: int) -> Candidate:
    return Candidate(number, (0, 1))


class Remembering(SearchOptimizer):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        super().__init__(TinySpace(), 0)
        self.told: list[tuple[int, float]] = []

    def propose(self, number: int, rng: Random) -> Candidate:
        return Candidate(number, self.space.sample(rng))

    def learn(self, candidate: Candidate, loss: float) -> None:
        self.told.append((candidate.number, loss))


def test_processes_give_what_this_process_gives(two: Processes) -> None:
    here, there = Remembering(), Remembering()
    first = search(here, fine, Budget(evaluations=12))
    second = search(there, fine, Budget(evaluations=12), executor=two)
    assert outcomes(first) == outcomes(second)
    assert sorted(there.told) == here.told
    assert all(
        loss == loss_of(r.candidate.tokens) for r, (_, loss) in zip(first.records, here.told, strict=True)
    )


def test_results_come_in_the_order_of_their_end(two: Processes, tmp_path: Path) -> None:
    optimizer, told = Remembering(), tmp_path / "told"
    history = search(
        optimizer, SecondFirst(told), Budget(evaluations=2), executor=two, progress=lambda _: told.touch()
    )
    assert [number for number, _ in optimizer.told] == [1, 0]
    assert [record.candidate.number for record in history.records] == [1, 0]


def test_whatever_goes_wrong_is_told_of_its_own_candidate_and_the_search_goes_on(two: Processes) -> None:
    history = search(Remembering(), troubled, Budget(evaluations=14), executor=two)
    found = outcomes(history)
    assert {n: o.failure for n, o in found.items() if o.failure} == {
        0: "ProcessDiedError: its process was killed by SIGKILL, which is what the system does when memory runs out",
        1: "ValueError: a number that is bad",
        2: "diverged: its loss is nan",
        3: "MemoryError: ",
        4: "ProcessDiedError: its process ended with exit code 3",
        5: "RuntimeError: AwkwardError: 1 and 2",
        6: found[6].failure,
    }
    assert "pickle" in found[6].failure
    assert [found[n].loss for n in range(7)] == [WORST] * 7
    assert [found[n] for n in range(7, 14)] == [fine(r.candidate) for r in sorted_records(history)[7:]]
    assert all(math.isfinite(o.seconds) and o.seconds > 0 for o in found.values())


def sorted_records(history: History) -> list:  # type: ignore[type-arg]
    return sorted(history.records, key=lambda record: record.candidate.number)


def test_in_this_process_what_raises_is_told_too() -> None:
    executor = InThisProcess()
    assert isinstance(executor.submit(troubled, candidate(1)).exception(), ValueError)
    assert isinstance(executor.submit(troubled, candidate(3)).exception(), MemoryError)
    assert executor.submit(fine, candidate(9)).result() == Outcome(0.5, 0.25)


def test_a_search_whose_candidates_all_fail_ends_by_its_seconds(clock: Clock) -> None:
    def bad(candidate: Candidate) -> Outcome:
        clock.now += 0.5
        raise ValueError

    history = search(RandomSearch(TinySpace()), bad, Budget(seconds=1.25))
    assert [record.outcome.seconds for record in history.records] == [0.5] * 3
    assert history.seconds == 1.5


def test_each_worker_has_one_thread_and_stays(two: Processes) -> None:
    found = [two.submit(threads, candidate(i)).result().measures for i in range(4)]
    assert {m["threads"] for m in found} == {1.0}
    assert len({m["process"] for m in found}) <= 2
    assert os.getpid() not in {m["process"] for m in found}


def test_closing_kills_what_runs_and_nothing_stays_behind(tmp_path: Path) -> None:
    executor = Processes(1)
    future = executor.submit(Sleeps(tmp_path), candidate(0))
    wait_until(lambda: bool(list(tmp_path.iterdir())))
    (process,) = (int(path.name) for path in tmp_path.iterdir())
    assert alive(process)
    executor.close()
    assert isinstance(future.exception(PATIENCE), ProcessDiedError)  # it was not waited for
    assert not alive(process)
    assert "was closed" in str(executor.submit(fine, candidate(0)).exception(PATIENCE))


SEARCH = """
    import sys
    from pathlib import Path
    from fphi.optimize.ask_tell import RandomSearch
    from fphi.run.search.executors import Processes
    from fphi.run.search.history import History
    from fphi.run.search.loop import Budget, search
    from search_fakes import Sleeps, TinySpace

    if __name__ == "__main__":
        folder = Path(sys.argv[1])
        (folder / "running").mkdir()
        history = History(folder / "history.jsonl")
        executor = Processes(1)
        search(RandomSearch(TinySpace()), Sleeps(folder / "running"), Budget(evaluations=9), history=history,
               executor=executor)
        print(len(history.records), sorted(history.in_flight))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_leaves_no_process_and_blames_no_candidate(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The signal goes to the whole group, as Ctrl-C and batch systems send it."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SEARCH))
    environment = {**os.environ, "PYTHONPATH": WITH_TESTS, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    running = tmp_path / "running"
    wait_until(lambda: running.exists() and bool(list(running.iterdir())), run)
    (process,) = (int(path.name) for path in running.iterdir())
    if number == signal.SIGKILL:  # of the search alone: its worker must notice
        run.kill()
    else:
        os.killpg(run.pid, number)
    out, err = run.communicate(timeout=PATIENCE)
    assert (out, err) == ("" if number == signal.SIGKILL else "0 [0]\n", "")
    wait_until(lambda: not alive(process))


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from fphi.run.search.executors import Processes\nProcesses(1)\n")
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert run.returncode == 1
    assert "a worker cannot start: its process ended with exit code 1" in run.stderr


def test_executors_by_name() -> None:
    assert isinstance(make_executor("in-process"), InThisProcess)
    with pytest.raises(FphiError, match="unknown executor 'cloud': choose one of in-process, processes, ray"):
        make_executor("cloud")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="3 workers in one process: choose the executor processes or ray"):
        make_executor("in-process", 3)
    for kind in (Processes, OnRay):
        with pytest.raises(FphiError, match="0 workers cannot evaluate anything"):
            kind(0)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FphiError, match=r"pip install 'fphi\[ray\]'"):
        make_executor("ray", 2)


ON_RAY = """
    import json
    from pathlib import Path
    from fphi.optimize.ask_tell import Candidate, RandomSearch
    from fphi.run.search.executors import make_executor
    from fphi.run.search.loop import Budget, search
    from search_fakes import TinySpace, threads, troubled

    executor = make_executor("ray", 2)
    history = search(RandomSearch(TinySpace()), troubled, Budget(evaluations=10), executor=executor)
    measures = executor.submit(threads, Candidate(0, (0, 1))).result().measures
    executor.close()
    found = {r.candidate.number: (r.outcome.loss, r.outcome.failure) for r in history.records}
    print(json.dumps([found, measures["threads"]]))
"""


@pytest.mark.slow
def test_a_local_ray_gives_the_same(tmp_path: Path) -> None:
    """In a process of its own, with a home of its own: Ray leaves threads, and a token in the home folder."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'fphi[ray]'")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(ON_RAY))
    environment = {**os.environ, "PYTHONPATH": WITH_TESTS, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    environment["RAY_ADDRESS"] = "127.0.0.1:1"  # of another cluster, which nobody has asked for
    run = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    found, torch_threads = json.loads(run.stdout.splitlines()[-1])
    failures = {int(number): failure for number, (_, failure) in found.items() if failure}
    assert failures == {
        0: "ProcessDiedError: its process on Ray died: WorkerCrashedError",
        1: "ValueError: a number that is bad",
        2: "diverged: its loss is nan",
        3: "MemoryError: ",
        4: "ProcessDiedError: its process on Ray died: WorkerCrashedError",
        5: "RuntimeError: AwkwardError: 1 and 2",
        6: failures[6],
    }
    assert "pickle" in failures[6]
    space = TinySpace()
    tokens = [space.sample(Random(f"0/{number}")) for number in range(7, 10)]
    assert [found[str(number)][0] for number in range(7, 10)] == [loss_of(t) for t in tokens]
    assert torch_threads == 1


TWO_NODES = """
    import json
    import time
    from ray.cluster_utils import Cluster
    from fphi.optimize.ask_tell import RandomSearch
    from fphi.run.search.executors import make_executor
    from fphi.run.search.loop import Budget, search
    from search_fakes import TinySpace, fine

    def slow(candidate):
        time.sleep(0.2)
        return fine(candidate)

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300,
             "health_check_timeout_ms": 300, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 1, "include_dashboard": False, "_system_config": quick})
    nodes = [cluster.add_node(num_cpus=1)]
    executor = make_executor("ray", 2, cluster.address)
    lost = []

    def progress(history):
        if len(history.records) >= 8 and not lost:
            lost.append(len(history.records))
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1))

    search_ = RandomSearch(TinySpace())
    history = search(search_, slow, Budget(evaluations=24), executor=executor, progress=progress)
    executor.close()
    cluster.shutdown()
    print(json.dumps([[r.candidate.number, r.outcome.loss, r.outcome.failure] for r in history.records]))
"""


@pytest.mark.slow
def test_what_a_lost_machine_was_computing_is_computed_again_and_told_once(tmp_path: Path) -> None:
    """A cluster of two nodes on this machine, one of which is killed in the middle of a search."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'fphi[ray]'")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TWO_NODES))
    environment = {**os.environ, "PYTHONPATH": WITH_TESTS, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = sorted(json.loads(run.stdout.splitlines()[-1]))
    space = TinySpace()
    tokens = [space.sample(Random(f"0/{number}")) for number in range(24)]
    assert told == [[number, loss_of(t), ""] for number, t in enumerate(tokens)]
