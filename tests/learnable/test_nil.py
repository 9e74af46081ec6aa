"""NIL: trained as ANIL or MAML, and tested without inner loop and head."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fphi.errors import FphiError
from fphi.learnable import GradientLearner, NILLearner
from fphi.methods.base import Setting
from fphi.methods.nil import NIL
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples
from fphi.within import sgd
from learners import WAYS, conv, random_tasks


def nil(adapts: Literal["all", "head"] = "head") -> NILLearner:
    return NILLearner(conv(), sgd(0.4), 2, adapts=adapts).double()


@pytest.mark.parametrize("adapts", ["all", "head"])
def test_it_is_trained_as_anil_or_maml_to_the_last_bit(adapts: Literal["all", "head"]) -> None:
    tasks = random_tasks()
    other = GradientLearner(conv(), sgd(0.4), 2, adapts=adapts).double()
    assert nil(adapts).state_dict().keys() == other.state_dict().keys()
    loss, gradients = meta_gradient(nil(adapts), tasks, threads=1)
    same_loss, same = meta_gradient(other, tasks, threads=1)
    assert torch.equal(loss, same_loss)
    assert all(torch.equal(gradients[name], same[name]) for name in same)


def test_at_test_labels_are_weighted_by_the_softmax_of_cosines() -> None:
    learner, tasks = nil().eval(), random_tasks(shots=3)
    answers = learner.solve(tasks.support, tasks.query.x)
    body = learner.network.get_submodule("body")
    for i in range(3):
        examples, queries = body(tasks.support.x[i]), body(tasks.query.x[i])
        cosines = F.cosine_similarity(queries[:, None], examples[None], dim=-1)
        votes = cosines.softmax(1) @ F.one_hot(tasks.support.y[i], WAYS).double()
        torch.testing.assert_close(answers[i], votes.log())
    torch.testing.assert_close(answers.exp().sum(-1), torch.ones_like(answers[..., 0]))


def test_of_one_shot_the_nearest_by_angle_is_the_answer() -> None:
    learner, tasks = nil().eval(), random_tasks(shots=1)
    body = learner.network.get_submodule("body")
    cosines = F.cosine_similarity(body(tasks.query.x[0])[:, None], body(tasks.support.x[0])[None], dim=-1)
    answers = learner(Examples(tasks.support.x[0], tasks.support.y[0]), tasks.query.x[0])
    assert torch.equal(answers.argmax(1), tasks.support.y[0][cosines.argmax(1)])


def test_head_and_inner_loop_have_no_part_in_the_answers_at_test() -> None:
    learner, tasks = nil().eval(), random_tasks()
    before = learner.solve(tasks.support, tasks.query.x)
    with torch.no_grad():
        for p in learner.network.get_submodule("head").parameters():
            p.normal_()
    learner.test_steps = 7
    assert torch.equal(learner.solve(tasks.support, tasks.query.x), before)
    answers = learner.answers_at_test(tasks.support, tasks.query.x, steps=5)
    torch.testing.assert_close(answers.final, before)
    assert answers.by_step is None


def test_a_relabelling_permutes_the_answers() -> None:
    learner, tasks = nil().eval(), random_tasks(shots=2)
    order = torch.tensor([2, 0, 1])
    before = learner.solve(tasks.support, tasks.query.x)
    after = learner.solve(Examples(tasks.support.x, order[tasks.support.y]), tasks.query.x)
    assert torch.equal(after[..., order], before)


def test_what_it_cannot_do_is_said_in_a_line() -> None:
    learner, tasks = nil().eval(), random_tasks(1)
    with pytest.raises(FphiError, match="NIL adapts nothing at test: call the learner"):
        learner.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
    assert "head.weight" in nil().adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
    with pytest.raises(FphiError, match="nil compares classes, and these tasks have none"):
        NIL().learner(Setting(None, 10, (1,)))
    plain = NILLearner(nn.Sequential(nn.Flatten(), nn.Linear(256, WAYS)), sgd(0.1), 1).double().eval()
    with pytest.raises(FphiError, match=r"NIL needs a network with \.body and \.head, not Sequential"):
        plain.solve(tasks.support, tasks.query.x)


@pytest.mark.parametrize(("trained_as", "adapts"), [("anil", "head"), ("maml", "all")])
def test_the_method_is_trained_as_it_is_told(trained_as: Literal["anil", "maml"], adapts: str) -> None:
    learner = NIL(trained_as=trained_as).learner(Setting(5, 1, (1, 28, 28)))
    assert isinstance(learner, NILLearner)
    assert (learner.adapts, learner.steps) == (adapts, 5)
