"""What a tuning varies where nobody says, and what a user may write."""

from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fphi.errors import FphiError
from fphi.experiment.tuning.dimensions import Dimension
from fphi.experiment.tuning.space import require_effect, space_of
from fphi.methods.base import FewShotMethod, Setting
from fphi.methods.families.networks import ScheduleName, current, settled
from fphi.methods.leo import LEO
from fphi.methods.lstm_optimizer import LSTMOptimizerMethod
from fphi.methods.maml import MAML
from fphi.methods.meta_sgd import MetaSGD
from fphi.methods.multi_task import MultiTask
from fphi.methods.prototypical import Prototypical
from fphi.methods.reptile import Reptile
from fphi.methods.table import methods
from fphi.methods.tuned_optimizer import TunedOptimizer
from fphi.networks.batch_norm import Mode
from fuzzing import inputs, tried

IMAGES, WAVES = Setting(5, 1, (1, 28, 28)), Setting(None, 10, (1,))
FEW_SHOT = [cls for cls in methods().values() if issubclass(cls, FewShotMethod)]


def texts(method: FewShotMethod, setting: Setting, *vary: str, fixed: tuple[str, ...] = ()) -> dict[str, str]:
    return {one.name: one.text for one in space_of(method, setting, vary, fixed)}


def test_usual_values_come_from_the_options_kinds_ranges_and_values() -> None:
    assert texts(MAML(), IMAGES) == {
        "inner_lr": "0.04:4:log",
        "inner_steps": "1:3:log",
        "test_steps": "1:9:log",
        "outer_lr": "0.0001:0.01:log",
        "schedule": ",".join(get_args(ScheduleName)),
        "norm": ",".join(get_args(Mode)),
    }
    assert texts(MAML(), WAVES) == {
        "inner_lr": "0.001:0.1:log",
        "inner_steps": "1:3:log",
        "test_steps": "1:9:log",
        "outer_lr": "0.0001:0.01:log",
        "schedule": ",".join(get_args(ScheduleName)),
    }
    assert texts(MAML(inner_lr=500.0), IMAGES)["inner_lr"] == "50:1000:log"
    assert texts(Prototypical(), IMAGES)["distance"] == "euclidean,cosine"
    leo = texts(LEO(), IMAGES)
    assert (leo["dropout"], leo["normalise"]) == ("0:0.95", "true,false")


def test_what_is_off_stays_off_and_what_changes_no_result_too() -> None:
    assert not {"multi_step", "clip_value", "learned_rates", "memory", "network"} & set(texts(MAML(), IMAGES))
    assert "multi_step" in texts(MAML(multi_step=0.5), IMAGES)
    assert "clip_value" in texts(MAML(clip_value=10.0), IMAGES)


def test_options_that_were_given_stay_as_they_are_unless_they_are_named() -> None:
    assert "inner_lr" not in texts(MAML(), IMAGES, fixed=("inner_lr",))
    assert texts(MAML(), IMAGES, "inner_lr", fixed=("inner_lr",)) == {"inner_lr": "0.04:4:log"}


def test_vary_names_all_that_is_varied_or_changes_one_of_the_usual() -> None:
    assert texts(MAML(), IMAGES, "inner-lr=0.01:1:log", "inner_steps=1,3,5", "meta_batch=4,8") == {
        "inner_lr": "0.01:1:log",
        "inner_steps": "1,3,5",
        "meta_batch": "4,8",
    }
    usual = texts(MAML(), IMAGES)
    for order in (("usual", "norm=support,running"), ("norm=support,running", "usual")):
        assert texts(MAML(), IMAGES, *order) == usual | {"norm": "support,running"}
    assert texts(MAML(), IMAGES, "multi_step") == {"multi_step": "0:1"}
    assert texts(MAML(), IMAGES, "clip_value=null,10", "learned_rates=none,all") == {
        "clip_value": "null,10",
        "learned_rates": "none,all",
    }


@pytest.mark.parametrize("setting", [IMAGES, WAVES], ids=["images", "waves"])
@pytest.mark.parametrize("cls", FEW_SHOT, ids=lambda cls: cls.title)
def test_every_method_has_usual_values_which_it_takes(cls: type[FewShotMethod], setting: Setting) -> None:
    method = cls()
    space = space_of(method, setting, (), ())
    assert any(one.name.endswith(("lr", "rate")) for one in space)
    for one in space:
        for value in one.ends:
            assert getattr(replace(method, **{one.name: value}), one.name) == value
        known = current(method, one.name, setting)
        assert one.holds(known) or (known is None and one.name.endswith("rate"))
    require_effect(method, space, setting)
    assert space_of(method, setting, [f"{one.name}={one.text}" for one in space], ()) == space


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("inner_lr=0.1", "--vary inner_lr=0.1 gives no two different values; write 1,3,5 or"),
        ("inner_lr=0.1,0.10", "gives no two different values"),
        ("inner_lr=", "gives no two different values"),
        ("inner_lr=1:0.1", "inner_lr=1:0.1 is no range; write two numbers, the smaller first, as"),
        ("inner_lr=0:1:log", "write two numbers, the smaller first, the first above 0, as"),
        ("inner_lr=0:1:lin", "is no range"),
        ("inner_lr=0:nan", "is no range"),
        ("inner_lr=0:1:log:2", "is no range"),
        ("inner_steps=1:2.5", "is no range; write two whole numbers"),
        ("network=a.py:A,b.py:B", "names a file of Python; give one by --network"),
        ("clip_value", "--vary clip_value has no usual values; write them: --vary clip_value=1,3,5 or"),
        ("steps", "--vary steps has no usual values"),
        ("ways=5,10", "--vary ways: it can be one of multi_step, first_order, inner_lr"),
        ("seed=1,2", "--vary seed: it can be one of"),
        ("inner_lr=0.1,0.2 --inner-lr=0.3,0.4", "--vary inner_lr is given twice; give it once, with all its"),
        ("nonsense", "what they are says fphi train maml --help"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary: str, message: str) -> None:
    with pytest.raises(FphiError) as refusal:
        space_of(MAML(), IMAGES, vary.split(), ())
    assert message in str(refusal.value)


@inputs(200)
@given(
    name=st.sampled_from(
        ["inner_lr", "inner_steps", "schedule", "clip_value", "learned_rates", "steps", "freeze"]
    ),
    values=st.text(alphabet="0123456789.:,-eanulogtr", max_size=20),
)
def test_whatever_is_written_is_refused_or_read_back_as_it_is(name: str, values: str) -> None:
    with tried("values of an option"):
        (one,) = space_of(MAML(), IMAGES, (f"{name}={values}",), ())
        assert space_of(MAML(), IMAGES, (f"{name}={one.text}",), ()) == (one,)
        assert all(one.holds(end) for end in one.ends)


def test_the_problem_of_a_learned_optimizer_is_not_varied() -> None:
    """A smaller network, or fewer steps to be judged by, would be the best optimizer."""
    method = LSTMOptimizerMethod()
    problem = ("units", "unit_layers", "activation", "network", "start", "inner_batch", "test_steps")
    assert not {*problem, "inner_steps"} & set(texts(method, IMAGES))
    for name in (*problem, "inner_steps"):
        with pytest.raises(FphiError, match=rf"--vary {name}: it is part of what lstm-optimizer is asked"):
            space_of(method, IMAGES, (f"{name}=1,2",), ())
    judged = replace(method, test_steps=100)  # then inner steps are of training alone
    assert "inner_steps" in texts(judged, IMAGES)
    assert not set(problem) & set(texts(judged, IMAGES))


def test_nothing_left_to_vary_is_refused() -> None:
    fixed = tuple(texts(MAML(), IMAGES))
    with pytest.raises(FphiError, match="maml has no option left to vary"):
        space_of(MAML(), IMAGES, (), fixed)


def test_a_dimension_holds_what_is_in_it() -> None:
    numbers = Dimension("x", (), 0.1, 1.0)
    assert [numbers.holds(v) for v in (0.1, 1, 1.1, True, None, "a")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    whole = Dimension("x", (), 1, 9, whole=True)
    assert [whole.holds(v) for v in (1, 9, 10, 1.0, True)] == [True, True, False, False, False]
    choices = Dimension("x", (1, None, "a"))
    assert [choices.holds(v) for v in (1, None, "a", True, 1.0, 2)] == [True, True, True, False, False, False]


def test_sampled_numbers_are_short_and_stay_inside() -> None:
    numbers = Dimension("x", (), 0.123456, 1.0)
    assert numbers.rounded(0.98765432) == 0.9877
    assert numbers.rounded(0.99996) == 1.0
    assert Dimension("x", (), 0.12344, 1.0).rounded(0.12344) == 0.12344  # not 0.1234
    assert Dimension("x", (), 1, 99999, whole=True).rounded(98765) == 98765
    assert Dimension("x", (True, False)).rounded(True) is True


QUADRATICS, CLASSES = Setting(None, 1, (10,)), replace(IMAGES, classes=20)


@pytest.mark.parametrize(
    ("method", "setting", "rate", "steps"),
    [
        (TunedOptimizer(rule="adam"), IMAGES, 0.03, None),
        (TunedOptimizer(rule="sgd"), IMAGES, 1.0, None),
        (TunedOptimizer(rule="momentum"), IMAGES, 0.1, None),
        (TunedOptimizer(rule="adam"), QUADRATICS, 0.1, None),
        (TunedOptimizer(rule="sgd"), QUADRATICS, 0.01, None),
        (MultiTask(adapt="head"), CLASSES, 0.05, 50),
        (MultiTask(adapt="all"), CLASSES, 0.01, 20),
        (MultiTask(), WAVES, 0.01, 20),
    ],
)
def test_a_null_stands_for_what_the_method_takes_in_its_place(
    method: FewShotMethod, setting: Setting, rate: float, steps: int | None
) -> None:
    """What the learner is built with says it, and the range is about that."""
    assert (current(method, "inner_lr", setting), current(method, "test_steps", setting)) == (rate, steps)
    learner: Any = method.learner(setting)
    rule = learner.optimizer.rule if isinstance(method, TunedOptimizer) else learner.optimizer
    assert rule.lr == rate
    assert steps in (None, learner.steps)
    assert texts(method, setting, fixed=("rule", "adapt"))["inner_lr"] == f"{rate / 10:g}:{rate * 10:g}:log"


def test_rates_of_other_names_stand_for_their_own() -> None:
    assert current(LSTMOptimizerMethod(), "scale", IMAGES) == 0.1
    assert current(LSTMOptimizerMethod(), "scale", QUADRATICS) == 0.3
    assert current(MetaSGD(), "rate_high", IMAGES) == 0.1
    assert texts(MetaSGD(), IMAGES, "rate_high") == {"rate_high": "0.01:1:log"}


def test_a_rate_that_another_choice_decides_is_left_to_it() -> None:
    """Adam's step size is no place for gradient descent to begin."""
    assert "inner_lr" not in texts(TunedOptimizer(), IMAGES)
    assert texts(TunedOptimizer(), IMAGES, "usual", "rule=rmsprop,adam")["inner_lr"] == "0.003:0.3:log"
    assert texts(TunedOptimizer(), IMAGES, "rule", "inner_lr")["inner_lr"] == "0.003:0.3:log"


def test_what_has_no_effect_as_the_others_are_is_not_varied() -> None:
    idle = {"inner", "inner_lr", "test_steps"}
    assert not idle & set(texts(MultiTask(), IMAGES))
    assert "distance" in texts(MultiTask(), IMAGES)
    assert {"inner", "inner_lr"} <= set(texts(MultiTask(adapt="head"), IMAGES, fixed=("adapt",)))
    assert "distance" not in texts(MultiTask(adapt="head"), IMAGES, fixed=("adapt",))
    both = texts(MultiTask(), IMAGES, "usual", "adapt=centroids,head")
    assert {"distance", "inner"} <= set(both)
    assert both["inner_lr"] == "0.005:0.5:log"  # the head's: class means have none
    assert "momentum" not in texts(TunedOptimizer(), IMAGES, fixed=("rule",))
    assert "momentum" in texts(TunedOptimizer(), IMAGES)
    assert {"epsilon", "outer_lr"} <= set(texts(Reptile(), IMAGES))
    assert "epsilon" not in texts(Reptile(), IMAGES, fixed=("outer",))
    for method, name in (
        (MultiTask(), "inner_lr"),
        (TunedOptimizer(), "momentum"),
        (MAML(network="koch"), "norm"),
    ):
        with pytest.raises(
            FphiError, match=f"--vary {name}: it changes nothing as the other options are; leave it"
        ):
            require_effect(method, space_of(method, IMAGES, (name,), ()), IMAGES)


@pytest.mark.parametrize("cls", FEW_SHOT, ids=lambda cls: cls.title)
def test_what_is_settled_in_some_tasks_stays_in_others(cls: type[FewShotMethod]) -> None:
    """So a trained algorithm is the same one on all tasks; the network of a problem follows them."""
    for here, there in ((IMAGES, QUADRATICS), (QUADRATICS, IMAGES), (WAVES, IMAGES)):
        method = settled(cls(), here)
        assert settled(method, here) == method
        effective = {f.name for f in fields(cls)} - set(method.idle(here))
        for name in effective:
            assert current(method, name, there) == current(cls(), name, here)
    problem: Any = settled(LSTMOptimizerMethod(), QUADRATICS)
    assert (problem.network, problem.start) == ("auto", None)
