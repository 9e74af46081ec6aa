"""Pictures and tables of searches: where a drawing puts things, and what a history becomes."""

import struct
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.architecture import Architecture
from fphi.experiment.levels import on_images
from fphi.learnable.architecture import SPACES, Edge, Graph, NASBench201Space, NASBenchMacroSpace
from fphi.objective.outcome import Outcome
from fphi.optimize import AgingEvolution
from fphi.report.architecture import draw_architecture
from fphi.report.layered import Layout, layered
from fphi.report.results import read_rows
from fphi.report.search_curves import epoch_curves, search_curves
from fphi.run.search.history import History
from fphi.run.search.history_table import history_rows, to_csv
from fphi.run.search.loop import Budget, search


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def drawings(space: str, count: int = 5) -> list[Graph]:
    chosen = SPACES[space]()
    return [graph for seed in range(count) for graph in chosen.graphs(chosen.sample(Random(seed)))]


def assert_apart(layout: Layout) -> None:
    """Nothing in a row overlaps."""
    for row in range(layout.rows):
        for one, other in combinations([place for place in layout.places if place.row == row], 2):
            assert abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-9


@pytest.mark.parametrize("space", sorted(SPACES))
def test_drawings_are_layered(space: str) -> None:
    """Every edge goes down row by row, from its node to its node; its label stands between rows of nodes."""
    for graph in drawings(space):
        layout = layered(graph)
        nodes = [place for place in layout.places if place.is_node]
        assert [place.text for place in nodes] == list(graph.nodes)
        for edge, path in zip(graph.edges, layout.paths, strict=True):
            assert (path[0], path[-1]) == (nodes[edge.start], nodes[edge.end])
            assert [place.row for place in path] == list(range(path[0].row, path[-1].row + 1))
            assert [place.text for place in path[1:-1] if place.text] == ([edge.label] if edge.label else [])
            assert all(place.row % 2 == 1 for place in path[1:-1] if place.text)
        assert_apart(layout)
        assert min(p.x - p.width / 2 for p in layout.places) == pytest.approx(0)
        assert max(p.x + p.width / 2 for p in layout.places) == pytest.approx(layout.width)


def test_a_chain_is_straight_and_a_diamond_even() -> None:
    chain = layered(Graph("", ("a", "b", "c"), (Edge(0, 1, "x"), Edge(1, 2, "yy"))))
    assert len({round(place.x, 6) for place in chain.places}) == 1
    diamond = layered(Graph("", ("a", "b", "c", "d"), (Edge(0, 1), Edge(0, 2), Edge(1, 3), Edge(2, 3))))
    top, left, right, bottom = diamond.places[:4]
    assert top.x == pytest.approx(bottom.x)
    assert (left.x + right.x) / 2 == pytest.approx(top.x)
    assert left.row == right.row


def test_parallel_edges_are_drawn_apart() -> None:
    graph = Graph("", ("a", "b"), (Edge(0, 1, "one"), Edge(0, 1, "other")))
    first, second = (path[1] for path in layered(graph).paths)
    assert abs(first.x - second.x) >= (first.width + second.width) / 2 - 1e-9


def test_an_edge_upwards_is_no_drawing() -> None:
    with pytest.raises(ValueError, match="edge from node 1 to 0"):
        layered(Graph("", ("a", "b"), (Edge(1, 0),)))


@pytest.mark.parametrize("space", sorted(SPACES))
def test_every_space_is_drawn(space: str) -> None:
    chosen = SPACES[space]()
    width, height = size(draw_architecture(chosen.graphs(chosen.sample(Random(1)))))
    assert 100 < width < 20_000
    assert 100 < height < 20_000


def test_a_graph_without_edges_or_beyond_all_bounds_is_drawn() -> None:
    assert size(draw_architecture([Graph("nothing", ("input",), ())]))[0] > 50
    names = tuple(str(i) for i in range(250))
    chain = Graph("long", names, tuple(Edge(i, i + 1, "conv_3x3") for i in range(249)))
    assert size(draw_architecture([chain]))[1] <= 160 * 160


def counted() -> History:
    """A search whose loss is the share of layers that are no 5x5 blocks; every fourth candidate fails."""

    def evaluate(candidate: object) -> Outcome:
        tokens, number = candidate.tokens, candidate.number  # type: ignore[attr-defined]
        if number % 4 == 3:
            return Outcome(1.0, 0.5, 'RuntimeError: out, of "memory"')
        return Outcome(sum(t != 2 for t in tokens) / 8, 0.5, measures={"parameters": 7.0})

    return search(AgingEvolution(NASBenchMacroSpace(), size=4, sample=2), evaluate, Budget(12))


def test_a_history_becomes_rows() -> None:
    history = counted()
    rows = history_rows(history, NASBenchMacroSpace())
    assert [row["number"] for row in rows] == list(range(12))
    losses = [row["loss"] for row in rows]
    assert losses == [record.outcome.loss for record in history.records]
    assert [row["best"] for row in rows] == [min(losses[: i + 1]) for i in range(12)]  # type: ignore[type-var]
    assert rows[3]["failure"] == 'RuntimeError: out, of "memory"'
    assert "parameters" not in rows[3]
    assert rows[0]["population_loss"] == losses[0]
    lines = to_csv(rows).splitlines()
    assert lines[0] == "number,loss,best,seconds,failure,parent,text,parameters,population,population_loss"
    assert lines[4].split(",")[:4] == ["3", "1.0", str(rows[3]["best"]), "0.5"]


def test_curves_are_drawn_from_rows() -> None:
    rows = history_rows(counted(), NASBenchMacroSpace())
    plain = [{name: value for name, value in row.items() if name != "population_loss"} for row in rows]
    assert size(search_curves({"evolution": rows, "random search": plain})) == (1024, 896)
    epochs = [
        {"epoch": i + 1.0, "reward": 0.5, "train_loss": 1.0, "validation_accuracy": 0.4} for i in range(3)
    ]
    assert size(epoch_curves("enas", epochs, 0.9, rows)) == (1024, 896)
    assert size(epoch_curves("enas", epochs, 0.9, [])) == (1024, 896)


@pytest.mark.parametrize("space", sorted(SPACES))
def test_an_architecture_is_read_as_it_was_written(space: str, tmp_path: Path) -> None:
    chosen = SPACES[space]()
    for seed in range(3):
        levels = ((0.1, 2.0, 255.0), (1.0, 0.3, 3.0)) if seed else None  # files of before have none
        written = Architecture(chosen, chosen.sample(Random(seed)), (3, 8, 8), 10, levels=levels)
        written.save(tmp_path)
        assert Architecture.read(tmp_path) == written


def test_an_architecture_of_no_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="holds no architecture"):
        Architecture.read(tmp_path)
    Architecture(NASBench201Space(), (0,) * 6, (3, 8, 8), 10).save(tmp_path)
    path = tmp_path / "architecture.json"
    path.write_text(path.read_text().replace("nasbench201", "no-space"))
    with pytest.raises(FphiError, match=r"architecture.json is damaged \('no-space'\); restore it"):
        Architecture.read(tmp_path)


@pytest.mark.parametrize(
    "levels", ['{"mean": [1, 2, 3], "deviation": [1, 0, 1]}', '{"mean": [1], "deviation": [1]}', "[]", "{}"]
)
def test_levels_that_are_none_of_the_images_are_refused(levels: str, tmp_path: Path) -> None:
    Architecture(NASBench201Space(), (0,) * 6, (3, 8, 8), 10).save(tmp_path)
    path = tmp_path / "architecture.json"
    path.write_text(path.read_text().replace('"outputs"', f'"levels": {levels}, "outputs"'))
    with pytest.raises(FphiError, match=r"architecture.json is damaged"):
        Architecture.read(tmp_path)


def test_a_network_without_levels_takes_no_images(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="does not tell by which grey levels"):
        on_images(tmp_path, nn.Identity(), None)


def test_results_of_searches_are_no_rows_of_the_table_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "result.json").write_text('{"kind": "architecture search"}')
    assert read_rows(tmp_path) == []
