"""Checkpoints: no bit is lost, nothing damaged is believed, no crash destroys the old one."""

import errno
import json
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.run.disk.checkpoint import (
    TrainingState,
    keep_parameters,
    load_parameters,
    read_checkpoint,
    save_checkpoint,
    save_parameters,
    sign_again,
)
from fphi.run.disk.files import read_sealed, replace_file, write_sealed, write_text
from fphi.run.disk.mark import parameters_mark
from fphi.run.disk.packing import pack, unpack

Optimizer = torch.optim.Optimizer

OPTIMIZERS: dict[str, Callable[[Iterator[nn.Parameter]], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 1e-3),
    "amsgrad": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, centered=True, momentum=0.5),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(learner: nn.Module, optimizer: Optimizer, seed: int) -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    learner(x).square().sum().backward()
    optimizer.step()


def trained(name: str = "adam") -> tuple[nn.Module, Optimizer]:
    learner = network()
    optimizer = OPTIMIZERS[name](learner.parameters())
    for seed in range(3):
        step(learner, optimizer, seed)
    return learner, optimizer


def assert_equal_bits(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.numpy().tobytes() == b.numpy().tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal_bits(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal_bits(x, y)
    else:
        assert a == b


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.safetensors", *trained(), TrainingState(step=3))
    return tmp_path / "last.safetensors"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_restored_training_continues_with_the_same_bits(name: str, tmp_path: Path) -> None:
    learner, optimizer = trained(name)
    state = TrainingState(3, 1.5, 2, 0.1 + 0.2, float("inf"), 1)
    save_checkpoint(tmp_path / "c", learner, optimizer, state, "fingerprint")

    other = network()
    other_optimizer = OPTIMIZERS[name](other.parameters())
    checkpoint = read_checkpoint(tmp_path / "c")
    checkpoint.restore(other, other_optimizer)
    assert (checkpoint.state, checkpoint.fingerprint) == (state, "fingerprint")
    assert_equal_bits(dict(other.state_dict()), dict(learner.state_dict()))
    assert_equal_bits(other_optimizer.state_dict(), optimizer.state_dict())

    step(learner, optimizer, seed=9)
    step(other, other_optimizer, seed=9)
    assert_equal_bits(dict(other.state_dict()), dict(learner.state_dict()))
    assert_equal_bits(other_optimizer.state_dict(), optimizer.state_dict())


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from([torch.tensor(0.5), torch.arange(3), torch.zeros(2, 0), torch.tensor([True])]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text()), inner),
    ),
    max_leaves=12,
)


@given(TREES)
def test_any_tree_survives_packing_and_json(tree: object) -> None:
    tensors: dict[str, Tensor] = {}
    packed = json.loads(json.dumps(pack(tree, tensors, "t")))
    assert_equal_bits(unpack(packed, tensors), tree)


def test_what_a_checkpoint_cannot_hold_is_refused_when_it_is_written() -> None:
    with pytest.raises(TypeError, match="cannot hold set"):
        pack({"a": {1, 2}}, {}, "t")


def test_equal_parameters_give_equal_files_and_tied_ones_are_no_obstacle(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    for name in "ab":
        save_parameters(tmp_path / name, tied, {"step": 7, "accuracy": None, "loss": 0.1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_parameters(tmp_path / "a", tied) == {"step": 7, "accuracy": None, "loss": 0.1}


def test_parameters_load_from_a_checkpoint_too(saved: Path) -> None:
    learner = network()
    assert load_parameters(saved, learner)["step"] == 3
    stored = read_checkpoint(saved).learner
    assert_equal_bits(dict(learner.state_dict()), {name: stored[name] for name in learner.state_dict()})
    assert stored.keys() == learner.state_dict().keys()


def test_kept_parameters_are_exact_if_small_and_rounded_weights_if_large(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    save_parameters(tmp_path / "from", network, {"step": 1})
    for half_over, rounded in ((10_000, False), (100, True)):
        assert keep_parameters(tmp_path / "from", tmp_path / "to", {"step": 2}, half_over) is rounded
        loaded = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        assert load_parameters(tmp_path / "to", loaded) == {"step": 2}
        for name, tensor in network.state_dict().items():
            wanted = tensor.half().float() if rounded and name == "0.weight" else tensor
            assert torch.equal(loaded.state_dict()[name], wanted)
            assert loaded.state_dict()[name].dtype == tensor.dtype


def test_the_mark_of_parameters_is_of_their_values_and_names_alone(tmp_path: Path) -> None:
    path, layer = tmp_path / "best", nn.Linear(2, 2)
    save_parameters(path, layer, {"step": 1})
    mark = parameters_mark(path)
    sign_again(path, "another")
    assert parameters_mark(path) == mark
    keep_parameters(path, tmp_path / "kept", {"step": 2})
    assert parameters_mark(tmp_path / "kept") == mark
    save_parameters(path, nn.Sequential(layer))
    assert parameters_mark(path) != mark
    layer.bias.data[0] += 1
    save_parameters(path, layer, {"step": 1})
    assert parameters_mark(path) != mark


def test_other_tools_can_read_the_file(saved: Path) -> None:
    state = safetensors.torch.load_file(saved)
    assert_equal_bits(state["learner.0.weight"], read_checkpoint(saved).learner["0.weight"])


@given(st.data())
def test_a_cut_or_changed_file_is_never_believed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "broken"
    save_checkpoint(path, *trained(), TrainingState(step=3))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1), label="at")
    if data.draw(st.booleans(), label="cut"):
        broken = whole[:at]
    else:
        broken = (
            whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255), label="bits")]) + whole[at + 1 :]
        )
    path.write_bytes(broken)
    with pytest.raises(FphiError, match=r"is damaged|is not a file that fphi wrote") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_is_told_from_a_file_that_is_something_else(saved: Path) -> None:
    whole = saved.read_bytes()
    for broken in (b"", whole[:20], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"\0"):
        saved.write_bytes(broken)
        with pytest.raises(FphiError, match=r"is damaged: .* best\.safetensors .* without --resume"):
            read_checkpoint(saved)
    saved.write_bytes(safetensors.torch.save({"a": torch.zeros(3)}, {"format": "pt"}))
    with pytest.raises(FphiError, match="is not a file that fphi wrote; check the path"):
        read_checkpoint(saved)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize(
    "dump", [lambda o, p: p.write_bytes(pickle.dumps(o)), torch.save], ids=["pickle", "torch"]
)
def test_a_pickle_is_refused_and_not_run(dump: Callable[[object, Path], None], tmp_path: Path) -> None:
    dump([Payload(tmp_path / "pwned"), torch.zeros(100)], tmp_path / "last.safetensors")
    with pytest.raises(FphiError, match="a pickle, which is never opened"):
        read_checkpoint(tmp_path / "last.safetensors")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no checkpoint"),
        ({"kind": "parameters", "format": 1, "note": {}}, "holds no checkpoint"),
        ({"kind": "checkpoint", "format": 2}, "has format 2 and this fphi reads 1"),
        ({"kind": "checkpoint", "format": 1}, "lacks a part"),
        ({"kind": "checkpoint", "format": 1, "standing": {"stepp": 1}}, "lacks a part"),
    ],
)
def test_json_that_is_no_checkpoint_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    write_sealed(tmp_path / "c", {}, content)
    with pytest.raises(FphiError, match=message):
        read_checkpoint(tmp_path / "c")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match=r"there is no .*last\.safetensors; check the folder"):
        read_checkpoint(tmp_path / "last.safetensors")
    with pytest.raises(FphiError, match=r"cannot read .*: Is a directory"):
        read_checkpoint(tmp_path)


def test_another_learner_or_optimizer_is_refused_by_name(saved: Path) -> None:
    with pytest.raises(FphiError, match=r"lacks .*3\.bias, 3\.weight"):
        load_parameters(saved, nn.Sequential(*network(), nn.Linear(2, 2)))
    with pytest.raises(FphiError, match=r"it has also 1\.bias, 1\.num_batches_tracked, .* and 4 more"):
        load_parameters(saved, nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(FphiError, match=r"2\.weight is \[2, 4\] in it and \[5, 4\] here"):
        load_parameters(saved, nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)))
    learner = network()
    with pytest.raises(FphiError, match="optimizer state does not fit"):
        read_checkpoint(saved).restore(learner, torch.optim.Adam(list(learner.parameters())[:2]))


class Crash(BaseException):
    """The process ends here."""


def test_a_crash_before_the_rename_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def crash(*args: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(Crash):
            save_checkpoint(saved, *trained(), TrainingState(step=4))
    assert saved.read_bytes() == before
    assert read_checkpoint(saved).state.step == 3
    save_checkpoint(saved, *trained(), TrainingState(step=5))  # what the crash left behind is no obstacle
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_failing_disk_leaves_the_old_file_and_no_other(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            FphiError, match=r"last\.safetensors: the disk is full \(\d+ bytes needed, \d+ free\)"
        ):
            save_checkpoint(saved, *trained(), TrainingState(step=4))
    assert read_checkpoint(saved).state.step == 3
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    try:
        write_sealed(disk / "a", {"x": torch.ones(100)}, None)
        with pytest.raises(FphiError, match=r"the disk is full \(1\d{5} bytes needed, \d+ free\)"):
            write_sealed(disk / "a", {"x": torch.ones(30_000)}, None)
        assert read_sealed(disk / "a")[0]["x"].shape == (100,)
        assert [p.name for p in disk.iterdir()] == ["a"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match=r"cannot write .*/no/a: No such file or directory"):
        replace_file(tmp_path / "no" / "a", b"")


def test_text_is_written_whole_into_a_folder_of_its_own(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "ä")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "ä".encode()
    with pytest.raises(FphiError, match=r"b\.txt: 'utf-8' codec can't encode"):
        write_text(tmp_path / "a" / "b.txt", "\ud800")
    with pytest.raises(FphiError, match=r"cannot write .*c\.txt"):
        write_text(tmp_path / "a" / "b.txt" / "c.txt", "")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
