"""What few-shot methods ask of their training tasks, their networks by name, rates and budgets."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from comparison_helpers import parameters
from fphi.errors import FphiError
from fphi.learnable import GradientLearner
from fphi.learnable.embedding import embedding_size
from fphi.methods.base import FewShotMethod, Setting
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.families.networks import NETWORKS, build_network
from fphi.methods.hypernetwork import Hypernetwork
from fphi.methods.leo import LEO
from fphi.methods.lstm import LSTM
from fphi.methods.maml import MAML
from fphi.methods.mann import MANN
from fphi.methods.matching import Matching
from fphi.methods.meta_sgd import MetaSGD
from fphi.methods.prototypical import Prototypical
from fphi.methods.relation import Relation
from fphi.methods.reptile import Reptile
from fphi.methods.siamese import Siamese
from fphi.methods.snail import SNAIL
from fphi.methods.table import get_method, methods
from fphi.networks import MLP
from fphi.objective import meta_gradient
from fphi.run.meta.evaluate import evaluate
from fphi.tasks import load_tasks
from fphi.tasks.episodes import TrainingTasks
from fphi.within.adaptive import Adam
from fphi.within.optimizers import SGD

IMAGES, WAVES = Setting(5, 1, (1, 28, 28)), Setting(None, 10, (1,))


def few_shot() -> Iterator[type[FewShotMethod]]:
    yield from (cls for cls in methods().values() if issubclass(cls, FewShotMethod))


EVERY = pytest.mark.parametrize("method", list(few_shot()), ids=lambda cls: cls.title)

# Training tasks.


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        # A number that nobody asked for is an upper bound.
        (Prototypical(), TrainingTasks(60, None, 5, at_most=True)),
        (Siamese(), TrainingTasks(20, None, 5, at_most=True)),
        (Relation(), TrainingTasks()),
        # What a configuration holds, is meant exactly.
        (Prototypical(train_ways=60, train_queries=5), TrainingTasks(60, None, 5)),
        (Siamese(train_ways=20, train_queries=2), TrainingTasks(20, None, 2)),
        (Prototypical(train_ways=None, train_queries=5), TrainingTasks(None, None, 5)),
        (Prototypical(train_ways=None, train_queries=None), TrainingTasks()),
        (Prototypical(train_ways=5, train_queries=None), TrainingTasks(5)),
        (Relation(train_ways=None, train_queries=None), TrainingTasks()),
        (Relation(train_ways=10, train_queries=3), TrainingTasks(10, None, 3)),
        (Matching(train_ways=8, train_queries=2), TrainingTasks(8, None, 2, "shuffled")),
        (Matching(), TrainingTasks(60, None, 5, "shuffled", at_most=True)),
        (Hypernetwork(), TrainingTasks(60, None, 5, at_most=True)),
        (LEO(), TrainingTasks(60, None, 5, at_most=True)),
        (LEO(train_ways=None, train_queries=15), TrainingTasks(None, None, 15)),
        (SNAIL(), TrainingTasks(order="shuffled")),
        (MANN(), TrainingTasks(None, 4, 1, "stream", at_most=True)),
        (MANN(train_shots=9), TrainingTasks(None, 9, 1, "stream")),
        (LSTM(train_shots=3), TrainingTasks(None, 3, 1, "stream")),
        (LSTM(labels="given"), TrainingTasks(order="shuffled")),
        # Minibatches take the same rows in every task: the rows must not be ordered by class.
        (Reptile(), TrainingTasks(None, 10, 1, "shuffled", at_most=True)),
        (Reptile(train_shots=10), TrainingTasks(None, 10, 1, "shuffled")),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_methods_say_what_they_ask_of_training_tasks(method: FewShotMethod, wanted: TrainingTasks) -> None:
    assert method.train_tasks(5, 1) == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_ways": 1}, "--train-ways is 1, which leaves nothing to compare; ask for at least 2"),
        ({"train_queries": 0}, "--train-queries is 0, which leaves nothing to learn from"),
    ],
)
def test_tasks_that_teach_nothing_are_refused(options: dict[str, int | None], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        Prototypical(**options).train_tasks(5, 1)  # type: ignore[arg-type]


# Networks by name.


def test_a_network_is_named_or_given() -> None:
    with pytest.raises(FphiError, match=r"--network is 'resnet'; choose one of conv4-pool, .*, koch"):
        build_network("resnet", IMAGES, "running")
    asked: list[tuple[tuple[int, ...], int | None, str]] = []

    def linear(input_shape: tuple[int, ...], outputs: int | None, norm: str) -> nn.Module:
        asked.append((input_shape, outputs, norm))
        return MLP(input_shape[0] * input_shape[1] * input_shape[2], (), outputs)

    given = Setting(5, 1, (1, 28, 28), linear)
    network = build_network("resnet", given, "query-batch")
    features = build_network("conv5", given, "running", head=False)
    assert asked == [((1, 28, 28), 5, "query-batch"), ((1, 28, 28), None, "running")]
    assert parameters(network) == 784 * 5 + 5
    assert parameters(features) == 0


@EVERY
def test_a_given_network_takes_the_place_of_the_named_one_in_every_method(
    method: type[FewShotMethod],
) -> None:
    made: list[nn.Module] = []

    def build(input_shape: tuple[int, ...], outputs: int | None, norm: str) -> nn.Module:
        made.append(MLP(784, (8,), outputs))
        return made[-1]

    setting = Setting(5, 1, (1, 28, 28), build, classes=12)
    if method is Relation:
        with pytest.raises(FphiError, match="relation compares maps, and has networks of its own"):
            method().learner(setting)
        return
    learner = method().learner(setting)
    assert made[0] in list(learner.modules())


class Words(nn.Module):
    """Numbers of words to normalised features."""

    def __init__(self, outputs: int | None) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(50, 16), nn.BatchNorm1d(16)
        self.head = nn.Identity() if outputs is None else nn.Linear(16, outputs)
        self.body = nn.Sequential(nn.Flatten(0, 0))

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.norm(self.words(x).mean(1)))
        return answers


@EVERY
def test_a_learner_is_made_for_numbers_of_words_without_a_trace_in_the_network(
    method: type[FewShotMethod],
) -> None:
    made: list[Words] = []

    def build(input_shape: tuple[int, ...], outputs: int | None, norm: str) -> nn.Module:
        made.append(Words(outputs))
        return made[-1]

    if method is Relation:
        return  # which has networks of its own
    method().learner(Setting(5, 1, (6,), build, classes=12, dtype=torch.int64))
    norm = made[0].norm
    assert norm.num_batches_tracked == 0
    assert isinstance(norm.running_mean, Tensor)
    assert not norm.running_mean.any()


FEATURES = {"conv4-pool": 64, "conv4-stride": 256, "conv4-stride-mean": 64, "conv5": 256, "mlp": 64}


@pytest.mark.parametrize("name", FEATURES)
def test_every_named_network_takes_images(name: str) -> None:
    assert set(NETWORKS) == {*FEATURES, "koch"}
    assert embedding_size(build_network(name, IMAGES, "query-batch"), (1, 28, 28)) == 5
    assert (
        embedding_size(build_network(name, IMAGES, "query-batch", head=False), (1, 28, 28)) == FEATURES[name]
    )


def test_vectors_have_a_network_of_their_own() -> None:
    network = build_network("conv4-pool", Setting(None, 10, (1,)), "query-batch")
    assert parameters(network) == 40 + 40 + 1600 + 40 + 40 + 1


def test_the_network_koch_ends_in_its_own_layer() -> None:
    setting = Setting(20, 1, (1, 105, 105))
    learner = Siamese(network="koch").learner(setting)
    assert parameters(learner) == 38_951_745
    for options, message in (
        ({"features": 512}, "--features is 512, and the network koch ends in such a layer itself"),
        ({"dropout": 0.5}, "--dropout is 0.5, and there is no layer that it comes before"),
    ):
        with pytest.raises(FphiError, match=message):
            Siamese(network="koch", **options).learner(setting)
    with pytest.raises(FphiError, match=r"--dropout is 0\.5, and there is no layer"):
        Siamese(features=None, dropout=0.5).learner(setting)
    with pytest.raises(FphiError, match=r"105x105 pixels, and these are 1 x 28 x 28: add --image-size 105"):
        Siamese(network="koch").learner(IMAGES)


def test_a_removed_option_that_changed_nothing_may_be_read_over() -> None:
    assert Siamese.removed == {"koch_net": False}
    assert Prototypical.removed == {}


def test_any_network_answers_where_it_is_the_whole_learner() -> None:
    network = build_network("koch", Setting(3, 1, (1, 105, 105)), "query-batch")
    answers: Tensor = network(torch.rand(2, 1, 105, 105))
    assert answers.shape == (2, 3)
    assert {"body", "head"} <= {name.split(".")[0] for name, _ in network.named_parameters()}


# Rates.


@pytest.mark.parametrize(
    ("name", "image", "wave"),
    [("maml", 0.4, 0.01), ("fomaml", 0.1, 0.01), ("anil", 0.1, 0.01), ("reptile", 0.2, 0.02),
     ("imaml", 0.1, 0.01), ("from-scratch", 1e-3, 1e-2)],
)  # fmt: skip
def test_the_inner_rate_is_that_of_the_kind_of_loss_unless_given(
    name: str, image: float, wave: float
) -> None:
    method = get_method(name)
    assert issubclass(method, FewShotMethod)
    for setting, rate in ((IMAGES, image), (WAVES, wave)):
        learner = method().learner(setting)
        assert isinstance(learner, GradientLearner)
        assert isinstance(learner.optimizer, SGD | Adam)
        assert learner.optimizer.lr == rate
        given = method(inner_lr=0.3).learner(setting)  # type: ignore[call-arg]
        assert isinstance(given, GradientLearner)
        assert isinstance(given.optimizer, SGD | Adam)
        assert given.optimizer.lr == 0.3


def test_learned_rates_begin_where_the_kind_of_loss_has_them() -> None:
    for setting, low, high in ((IMAGES, 0.005, 0.1), (WAVES, 0.0005, 0.01)):
        rates = dict(MetaSGD().learner(setting).named_parameters())
        values = torch.cat(
            [p.detach().flatten() for name, p in rates.items() if name.startswith("optimizer")]
        )
        assert low <= float(values.min()) <= float(values.max()) <= high
        assert float(values.max()) > high / 2


# Budgets.


@EVERY
def test_every_method_says_how_long_it_and_its_paper_train(method: type[FewShotMethod]) -> None:
    usual = method.usual
    assert usual.steps >= 1
    assert usual.meta_batch >= 1
    assert usual.paper
    assert usual.steps_for(5) == usual.steps
    assert usual.steps_for(None) == (usual.regression_steps or usual.steps)


@pytest.mark.parametrize("cls", [Prototypical, Matching, Siamese])
def test_options_that_are_left_out_name_themselves(cls: type[ComparingEmbeddings]) -> None:
    assert (cls().train_ways, cls().train_queries) == ("auto", "auto")


@pytest.mark.parametrize("shots", [5, 10])
def test_maml_s_inner_loop_learns_sine_waves_with_its_defaults(shots: int) -> None:
    """Better than a constant (4.25), and than the best answer that does not look at the task (3.01)."""
    tasks = load_tasks("sine", shots=shots)
    method = MAML(outer_lr=0.01)  # for a short training
    torch.manual_seed(0)
    learner = method.learner(Setting(None, shots, (1,)))
    optimizer = method.optimizer(learner)
    for step in range(200):
        batch = tasks.batch("train", range(8 * step, 8 * (step + 1)))
        optimizer.step(learner, meta_gradient(learner, batch, threads=1)[1], step / 200)
    assert evaluate(learner, tasks, split="test", count=300).loss < 2.6
