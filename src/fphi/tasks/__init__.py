"""What is learned from: tasks, distributions over tasks, and the data that they are made of."""

from fphi.tasks.affine import Reduction
from fphi.tasks.descriptions import DataRow, describe
from fphi.tasks.digits import DigitTasks
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.episodes import (
    Distortion,
    Draw,
    EpisodeShape,
    ExampleOrder,
    Rotation,
    SplitRule,
    TrainingTasks,
)
from fphi.tasks.features import FeatureTasks
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.folder import ImageMode, load_folder
from fphi.tasks.fonts import FontTasks
from fphi.tasks.hershey import load_hershey
from fphi.tasks.minibatches import Minibatches, PooledTasks, pooled
from fphi.tasks.omniglot import load_omniglot
from fphi.tasks.options import TaskOptions, few_shot_tasks, load_tasks
from fphi.tasks.pool import ClassPool
from fphi.tasks.protocols import PROTOCOLS, Protocol, protocol_named
from fphi.tasks.quadratics import QuadraticTasks
from fphi.tasks.shuffled import shuffled
from fphi.tasks.sine import SineTasks
from fphi.tasks.sources import GIVEN, NAMED, load_pool
from fphi.tasks.tables import TableTasks
from fphi.tasks.types import Examples, Task, stack

__all__ = [
    "GIVEN",
    "NAMED",
    "PROTOCOLS",
    "ClassPool",
    "DataRow",
    "DigitTasks",
    "Distortion",
    "Draw",
    "EpisodeShape",
    "ExampleOrder",
    "Examples",
    "FeatureTasks",
    "FewShotTasks",
    "FontTasks",
    "ImageMode",
    "Minibatches",
    "PooledTasks",
    "Protocol",
    "QuadraticTasks",
    "Reduction",
    "Rotation",
    "SineTasks",
    "SplitRule",
    "TableTasks",
    "Task",
    "TaskDistribution",
    "TaskOptions",
    "TrainingTasks",
    "describe",
    "few_shot_tasks",
    "load_folder",
    "load_hershey",
    "load_omniglot",
    "load_pool",
    "load_tasks",
    "pooled",
    "protocol_named",
    "shuffled",
    "stack",
]
