"""Where tasks are batched, and where one after another is faster."""

import pytest
import torch
from torch import nn

from fphi import Conv4
from fphi.within.task_map import is_costly


@pytest.mark.parametrize(
    ("shape", "costly"),
    [
        ((4, 5, 1, 28, 28), False),
        ((4, 11, 1, 28, 28), True),
        ((4, 5, 3, 84, 84), True),  # as much work as 45 of the small ones
        ((4, 1, 3, 84, 84), False),
        ((4, 11, 64, 7, 7), True),
    ],
)
def test_tasks_whose_images_keep_a_core_busy_are_looped_over(shape: tuple[int, ...], costly: bool) -> None:
    assert is_costly(nn.Sequential(nn.Conv2d(shape[2], 2, 3)), torch.empty(shape)) == costly


def test_neither_our_own_blocks_nor_other_layers_are() -> None:
    assert not is_costly(Conv4(5, channels=3, image_size=84), torch.empty(4, 5, 3, 84, 84))
    assert not is_costly(nn.Linear(3, 2), torch.empty(4, 50, 3))
