"""`ek.save` and `ek.load`: what goes in comes out, memory that was shared is shared, damage is named, nothing runs."""

import contextlib
import io
import math
import pickle
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import expkit as ek
from expkit.errors import CheckpointError, ExpkitError

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool", "uint8", "int8", "int16",
          "int32", "int64")  # fmt: skip


def again(value, **kw):
    file = io.BytesIO()
    ek.save(value, file)
    return ek.load(io.BytesIO(file.getvalue()), **kw)


def same(a, b):
    if isinstance(a, ek.Tensor):
        assert isinstance(b, ek.Tensor)
        assert (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, float) and math.isnan(a):
        assert math.isnan(b)
    else:
        assert type(a) is type(b)
        assert a == b


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (4,), (2, 3)])
def test_tensors_of_every_dtype_and_shape(dtype, shape):
    same(x := ek.ones(*shape, dtype=getattr(ek, dtype)), again(x))


TREE = {
    "numbers": [
        1,
        -(2**70),
        1.5,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        True,
        None,
        1 + 2j,
        complex(math.nan, -0.0).imag,
    ],
    "texts": ("", 'ä\n"', b"\x00\xff", Path("a/b")),
    3: {(1, "x"): ek.arange(3), None: {"__tensor__": "not one"}},
    "set": {1, 2},
    "things": [ek.float16, ek.device("cpu")],
    "leaf": ek.ones(2, requires_grad=True),
    "strided": ek.arange(6).reshape(2, 3).t(),
    "__tuple__": (1, [2, ()]),
}


def test_nested_data():
    same(TREE, again(TREE))


def test_arrays_and_numpy_numbers():
    got = again({"a": np.arange(3, dtype=np.int16), "n": np.float32(1.5)})
    assert got["a"].dtype == np.int16
    assert got["n"] == 1.5


def test_memory_that_was_shared_is_shared_again():
    base = ek.arange(12, dtype=ek.float32).reshape(3, 4)
    got = again({"all": base, "again": base, "row": base[1], "column": base[:, 2], "alone": ek.ones(2)})
    same({"all": base, "row": base[1], "column": base[:, 2]}, {k: got[k] for k in ("all", "row", "column")})
    with ek.no_grad():
        got["all"].zero_()
    assert got["again"].sum().item() == got["row"].sum().item() == got["column"].sum().item() == 0
    assert got["alone"].sum().item() == 2


def test_parts_of_memory_that_is_not_saved_as_a_whole():
    base = ek.arange(100)
    file = io.BytesIO()
    ek.save([base[10:20], base[15:25]], file)
    assert len(file.getvalue()) < 600  # not the hundred
    first, second = ek.load(io.BytesIO(file.getvalue()))
    first[5] = -1
    assert second[0].item() == -1


def test_one_tensor_twice_is_one_tensor():
    x = ek.ones(2, requires_grad=True)
    a, b = again([x, x])
    assert a is b


def test_training_goes_on_from_saved_states(tmp_path):
    def made():
        ek.manual_seed(0)
        model = ek.nn.Sequential(ek.nn.Linear(3, 4), ek.nn.BatchNorm1d(4), ek.nn.Linear(4, 1))
        return model, ek.optim.AdamW(model.parameters(), lr=0.1)

    def step(model, optimizer):
        optimizer.zero_grad()
        loss = model(ek.ones(5, 3) * ek.arange(5).reshape(5, 1)).square().sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    model, optimizer = made()
    step(model, optimizer)
    ek.save({"model": model.state_dict(), "optim": optimizer.state_dict(), "epoch": 1}, tmp_path / "c.safetensors")
    want = [step(model, optimizer) for _ in range(3)]
    fresh, other = made()
    saved = ek.load(tmp_path / "c.safetensors")
    fresh.load_state_dict(saved["model"])
    other.load_state_dict(saved["optim"])
    assert [step(fresh, other) for _ in range(3)] == want
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_an_ordered_dict_is_a_dict():
    same({"b": 1, "a": 2}, again(OrderedDict(b=1, a=2)))


@pytest.mark.torch
def test_pytorchs_model_by_way_of_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(),
                                 torch.nn.Linear(8, 3))  # fmt: skip
    files.save_file(theirs.state_dict(), tmp_path / "m.safetensors")
    ours = ek.nn.Sequential(ek.nn.Conv2d(1, 2, 3), ek.nn.BatchNorm2d(2), ek.nn.Flatten(), ek.nn.Linear(8, 3))
    ours.load_state_dict(ek.load(tmp_path / "m.safetensors"))
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype(np.float32)
    want = theirs.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours.eval()(ek.tensor(x)).detach().numpy(), want, rtol=1e-5, atol=1e-6)
    ek.save(ours.state_dict(), tmp_path / "back.safetensors")
    theirs.load_state_dict(files.load_file(tmp_path / "back.safetensors"))


# ---------------------------------------------------------------------- where it goes


def test_the_wanted_device():
    x = {"a": ek.ones(2)}
    assert again(x, map_location="cpu")["a"].device == ek.device("cpu")
    assert again(x, map_location={"cuda:0": "cpu"})["a"].device == ek.device("cpu")
    assert again(x, map_location=lambda tensor, saved: tensor + 1 if saved == "cpu" else None)["a"].tolist() == [2, 2]
    assert again(x, weights_only=False)["a"].tolist() == [1, 1]


# ---------------------------------------------------------------------- what cannot be


class Thing:
    def __reduce__(self):
        raise AssertionError("it ran")


Point = namedtuple("Point", "x y")
LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (ek.nn.Linear(1, 1), r"Linear, which a file cannot hold. Save its state_dict\(\)"),
        ({"a": [Thing()]}, "a.0 is a Thing"),
        (Point(1, 2), "named tuple"),
        (LOOP, "contains itself"),
        ({"__metadata__": ek.ones(1)}, "cannot be named"),
        (lambda: 1, "function"),
    ],
)
def test_what_a_file_cannot_hold(tmp_path, value, message):
    with pytest.raises(CheckpointError, match=message):
        ek.save(value, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path):
    ek.save([1], tmp_path / "x")
    with pytest.raises(CheckpointError):
        ek.save([Thing()], tmp_path / "x")
    assert ek.load(tmp_path / "x") == [1]
    with pytest.raises(CheckpointError, match="cannot be written"):
        ek.save([1], tmp_path / "missing" / "x")


def test_pickles_are_refused_unread(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    (tmp_path / "p.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match=r"pickled data.*save_file"):
        ek.load(tmp_path / "p.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.torch
def test_pytorchs_files_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    for number, legacy in enumerate((False, True)):
        path = tmp_path / f"{number}.pt"
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match="never unpickles"):
            ek.load(path)


def test_files_that_are_not_there_or_empty(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        ek.load(tmp_path / "gone")
    (tmp_path / "empty").touch()
    with pytest.raises(CheckpointError, match="0 bytes"):
        ek.load(tmp_path / "empty")


def whole() -> bytes:
    base = ek.arange(4, dtype=ek.float32)
    file = io.BytesIO()
    ek.save({"w": base, "v": base[1:3], "n": [1, (2.5, b"x")], 7: ek.ones(2, dtype=ek.bool), "z": 1 + 1j}, file)
    return file.getvalue()


WHOLE = whole()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_an_error_or_another_value(place, change):
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    with contextlib.suppress(ExpkitError):
        ek.load(io.BytesIO(bytes(damaged)))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=20))
def test_a_cut_or_lengthened_file_is_an_error(place, tail):
    damaged = WHOLE[:place] + tail
    if damaged != WHOLE:
        with pytest.raises(CheckpointError):
            ek.load(io.BytesIO(damaged))


VIEW = '{"__view__": ["tensor", "a", %s]}'


@pytest.mark.parametrize("window", ["[9], [1], 0", "[2], [1], 7", "[2], [-1], 3", "[2], [1, 1], 0", "[1e300], [1], 0",
                                    "[true], [1], 0", "5, [1], 0", "[2], [4611686018427387904], 0"])  # fmt: skip
def test_views_stay_inside_their_memory(window):
    from expkit.serialization import tensorfile

    described = {"format": "expkit", "version": "1", "tree": VIEW % window}
    data = tensorfile.dump({"a": np.zeros(8, np.float32)}, described)
    with pytest.raises(CheckpointError):
        ek.load(io.BytesIO(data))


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.lists(st.integers(0, 3), max_size=3).map(lambda shape: ek.zeros(*shape)),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_any_tree_comes_back(tree):
    same(tree, again(tree))
