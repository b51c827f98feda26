"""GPT-2 and BERT from folders: logits are the reference implementation's; folders that do not fit are explained.

The folders in huggingface/ were made by transformers (huggingface/make.py), with the logits that it computes.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import expkit as ek
from expkit import registry
from expkit.errors import CheckpointError, ConfigError, ShapeError
from expkit.nn.models.bert import BERT
from expkit.nn.models.generation import generate
from expkit.nn.models.gpt2 import GPT2
from expkit.serialization import load, tensorfile

FOLDERS = Path(__file__).parent / "huggingface"
NAMES = ("gpt2", "bert_masked_lm", "bert_classification")
LENGTH, VOCABULARY = 12, 19


def made(folder, **how):
    """The model of a folder, by its name."""
    if folder.name == "gpt2":
        return GPT2.from_pretrained(folder, **how).eval()
    return BERT.from_pretrained(folder, folder.name.removeprefix("bert_"), num_labels=3, **how).eval()


def expected(name):
    found = json.loads((FOLDERS / name / "expected.json").read_text())
    ids, *rest = (ek.tensor(value) for value in found["inputs"].values())
    return [ids, *rest], np.array(found["logits"], np.float32)


def check(model, name):
    inputs, logits = expected(name)
    np.testing.assert_allclose(model(*inputs).detach().numpy(), logits, rtol=1e-4, atol=2e-6)


@pytest.fixture
def folder(tmp_path):
    """name -> a copy of its folder that a test may spoil."""

    def copy(name):
        return Path(shutil.copytree(FOLDERS / name, tmp_path / name))

    return copy


def rewrite(folder, change):
    """Changes the tensors {name: array} of a folder."""
    path = folder / "model.safetensors"
    arrays = {name: x.numpy() for name, x in load(path).items()}
    path.write_bytes(tensorfile.dump({name: np.ascontiguousarray(x) for name, x in change(arrays).items()}))


def configure(folder, **options):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_reference(name):
    check(made(FOLDERS / name), name)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_agrees_where_it_is_installed(name):
    transformers = pytest.importorskip("transformers")
    import torch

    kinds = {"gpt2": "GPT2LMHeadModel", "bert_masked_lm": "BertForMaskedLM"}
    reference = getattr(transformers, kinds.get(name, "BertForSequenceClassification")).from_pretrained(FOLDERS / name)
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (3, LENGTH))
    theirs = reference.eval()(torch.tensor(ids)).logits.detach().numpy()
    np.testing.assert_allclose(made(FOLDERS / name)(ek.tensor(ids)).detach().numpy(), theirs, rtol=1e-4, atol=2e-6)


def test_gpt2_is_pytorchs_own_transformer(torch):
    """PyTorch's encoder layers, pre-norm and causal, are GPT-2's blocks."""
    model = made(FOLDERS / "gpt2")
    weights = {name: x.numpy() for name, x in load(FOLDERS / "gpt2" / "model.safetensors").items()}
    weights = {name.removeprefix("transformer."): torch.tensor(x) for name, x in weights.items()}
    ids = torch.tensor(np.random.default_rng(2).integers(0, VOCABULARY, (2, 7)))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(7)
    x = weights["wte.weight"][ids] + weights["wpe.weight"][:7]
    gelu = lambda y: torch.nn.functional.gelu(y, approximate="tanh")  # noqa: E731
    pairs = {"self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj.": "attn.c_proj.", "linear1.": "mlp.c_fc.",
             "linear2.": "mlp.c_proj.", "norm1.": "ln_1.", "norm2.": "ln_2."}  # fmt: skip
    for number in range(2):
        layer = torch.nn.TransformerEncoderLayer(8, 2, 32, 0.0, gelu, norm_first=True, batch_first=True).eval()
        own = {f"{a}{end}": weights[f"h.{number}.{b}{end}"] for a, b in pairs.items() for end in ("weight", "bias")}
        layer.load_state_dict({name: x.T if x.ndim == 2 else x for name, x in own.items()})
        x = layer(x, src_mask=mask)
    x = torch.nn.functional.layer_norm(x, (8,), weights["ln_f.weight"], weights["ln_f.bias"])
    theirs = (x @ weights["wte.weight"].T).detach().numpy()
    np.testing.assert_allclose(model(ek.tensor(ids.numpy())).detach().numpy(), theirs, rtol=1e-4, atol=2e-6)


def test_gpt2_writes_on_with_and_without_a_cache():
    model, prompt = made(FOLDERS / "gpt2"), ek.tensor([[1, 2, 3], [4, 5, 6]])
    found = [generate(model, prompt, 15, temperature=0, use_cache=on).tolist() for on in (True, False)]
    assert found[0] == found[1]
    assert len(found[0][0]) == 18


# ---------------------------------------------------------------------- forms of files


def bare(arrays):
    """As the files of openai-community/gpt2 and google-bert/bert-base-uncased: older names, and masks."""
    found = {}
    for name, x in arrays.items():
        name = name.removeprefix("transformer.").replace("LayerNorm.weight", "LayerNorm.gamma")
        found[name.replace("LayerNorm.bias", "LayerNorm.beta")] = x
    if "wte.weight" in found:
        found |= {f"h.{n}.attn.bias": np.ones((1, 1, LENGTH, LENGTH), np.float32) for n in range(2)}
        found["h.0.attn.masked_bias"], found["lm_head.weight"] = np.float32(-1e4).reshape(()), found["wte.weight"]
    else:
        found["cls.predictions.decoder.weight"] = found["bert.embeddings.word_embeddings.weight"]
        found["cls.seq_relationship.weight"] = np.zeros((2, 8), np.float32)
        found["bert.embeddings.position_ids"] = np.arange(LENGTH)[None]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_older_names_and_buffers(name, folder):
    place = folder(name)
    rewrite(place, bare)
    check(made(place), name)


def test_a_bert_without_its_prefix(folder):
    place = folder("bert_classification")
    rewrite(place, lambda arrays: {name.removeprefix("bert."): x for name, x in arrays.items()})
    check(made(place), "bert_classification")


@pytest.mark.parametrize("name", NAMES)
def test_weights_in_several_files(name, folder):
    place = folder(name)
    arrays = {key: x.numpy() for key, x in load(place / "model.safetensors").items()}
    (place / "model.safetensors").unlink()
    names = {key: f"model-{number % 2}.safetensors" for number, key in enumerate(arrays)}
    for file in set(names.values()):
        part = {key: x for key, x in arrays.items() if names[key] == file}
        (place / file).write_bytes(tensorfile.dump(part))
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    check(made(place), name)


def test_weights_of_half_precision(folder):
    place = folder("gpt2")
    rewrite(place, lambda arrays: {name: x.astype(np.float16) for name, x in arrays.items()})
    model = made(place)
    assert all(param.dtype is ek.float32 for param in model.parameters())
    inputs, logits = expected("gpt2")
    np.testing.assert_allclose(model(*inputs).detach().numpy(), logits, atol=0.02)


def test_an_untied_head(folder):
    place, head = folder("gpt2"), np.random.default_rng(0).normal(size=(VOCABULARY, 8)).astype(np.float32)
    configure(place, tie_word_embeddings=False)
    rewrite(place, lambda arrays: arrays | {"lm_head.weight": head})
    inputs, logits = expected("gpt2")
    table = load(place / "model.safetensors")["transformer.wte.weight"].numpy()
    hidden = np.linalg.lstsq(table, logits.reshape(-1, VOCABULARY).T, rcond=None)[0]
    found = made(place)(*inputs).detach().numpy().reshape(-1, VOCABULARY)
    np.testing.assert_allclose(found, (head @ hidden).T, rtol=1e-3, atol=1e-3)


def test_a_new_classifier_for_a_pretrained_body():
    with pytest.warns(UserWarning, match=r"has no bert\.pooler.*start anew"):
        model = BERT.from_pretrained(FOLDERS / "bert_masked_lm", "classification", num_labels=5)
    assert model.fresh == [
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    other = made(FOLDERS / "bert_masked_lm")
    for name, x in model.bert.encoder.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), other.bert.encoder.state_dict()[name].numpy())
    assert model(ek.tensor([[1, 2]])).shape == (1, 5)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_alone(name, folder):
    place = folder(name)
    (place / "model.safetensors").unlink()
    models = [made(place, weights=False, dropout=0.0) for _ in range(2)]
    inputs, logits = expected(name)
    assert models[0](*inputs).shape == logits.shape
    assert (models[0](*inputs) != models[1](*inputs)).any()


def test_from_the_registry():
    def build(name, outputs, **how):
        entry = {"name": name, "path": str(FOLDERS / how.pop("folder")), **how}
        return registry.build("model", entry, given={"input_shape": (8,), "output_size": outputs})

    assert build("gpt2", VOCABULARY, folder="gpt2")(ek.tensor([[1, 2]])).shape == (1, 2, VOCABULARY)
    assert build("bert", 3, folder="bert_classification")(ek.tensor([[1, 2]])).shape == (1, 3)
    for name, folder, how in (("gpt2", "gpt2", {}), ("bert", "bert_masked_lm", {"head": "masked_lm"})):
        with pytest.raises(ConfigError, match=r"data\.tokenizer="):
            build(name, 98, folder=folder, **how)


# ---------------------------------------------------------------------- folders that do not fit


def drop(name):
    return lambda place: rewrite(place, lambda arrays: {key: x for key, x in arrays.items() if key != name})


def pickled(place):
    (place / "model.safetensors").rename(place / "pytorch_model.bin")


def unlinked(place):
    (place / "model.safetensors").unlink()


def cut(place):
    path = place / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def index(content):
    def write(place):
        (place / "model.safetensors").unlink()
        (place / "model.safetensors.index.json").write_text(content)

    return write


# folder, what is done to it, error, words of the message
BAD = [
    ("gpt2", lambda place: (place / "config.json").unlink(), ConfigError, ["config.json cannot be read", "model.path"]),
    ("gpt2", lambda place: (place / "config.json").write_text("{"), ConfigError, ["config.json is not JSON"]),
    ("gpt2", lambda place: configure(place, model_type="llama"), ConfigError, ["'llama'", "'gpt2'"]),
    ("bert_masked_lm", lambda place: configure(place, model_type="gpt2"), ConfigError, ["'gpt2'", "'bert'"]),
    ("gpt2", lambda place: configure(place, n_layer=0), ConfigError, ["n_layer", "got 0"]),
    ("gpt2", lambda place: configure(place, n_embd="8"), ConfigError, ["n_embd", "'8'"]),
    ("gpt2", lambda place: configure(place, activation_function="quick_gelu"), ConfigError, ["quick_gelu", "gelu_new"]),
    ("gpt2", lambda place: configure(place, scale_attn_by_inverse_layer_idx=True), ConfigError, ["not supported"]),
    ("bert_masked_lm", lambda place: configure(place, hidden_act="x"), ConfigError, ["hidden_act='x'"]),
    ("bert_masked_lm", lambda place: configure(place, position_embedding_type="rel"), ConfigError, ["not supported"]),
    ("bert_masked_lm", lambda place: configure(place, num_attention_heads=3), ConfigError, ["hidden_size=8", "=3"]),
    ("gpt2", lambda place: configure(place, n_inner=20), CheckpointError, ["h.0.mlp.c_fc.bias", "(32,)", "(20,)"]),
    ("gpt2", lambda place: configure(place, n_layer=3), CheckpointError, ["missing: h.2.", "and 7 more"]),
    ("gpt2", lambda place: configure(place, n_layer=1), CheckpointError, ["not of this model: h.1."]),
    ("gpt2", lambda place: configure(place, attn_pdrop=0.2), ConfigError, ["attn_pdrop=0.2", "model.dropout"]),
    ("gpt2", lambda place: configure(place, layer_norm_epsilon="x"), ConfigError, ["layer_norm_epsilon", "'x'"]),
    ("bert_masked_lm", lambda place: configure(place, hidden_dropout_prob=2), ConfigError, ["hidden_dropout_prob"]),
    ("gpt2", drop("transformer.ln_f.bias"), CheckpointError, ["missing: ln_f.bias"]),
    ("bert_masked_lm", drop("cls.predictions.bias"), CheckpointError, ["missing: predictions.bias"]),
    ("bert_masked_lm", lambda place: configure(place, vocab_size=20), CheckpointError, ["(19, 8)", "(20, 8)"]),
    ("gpt2", pickled, CheckpointError, ["pytorch_model.bin", "pickled", "save_pretrained"]),
    ("gpt2", unlinked, CheckpointError, ["no model.safetensors", "weights=false"]),
    ("gpt2", cut, CheckpointError, ["model.safetensors"]),
    ("gpt2", index("{}"), CheckpointError, ["no weight_map"]),
    ("gpt2", index('{"weight_map": {"a": "../b"}}'), CheckpointError, ["outside"]),
    ("gpt2", index('{"weight_map": {"a": "b.safetensors"}}'), CheckpointError, ["b.safetensors cannot be read"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "error", "words"), BAD)
def test_folders_that_do_not_fit_are_explained(name, spoil, error, words, folder):
    place = folder(name)
    spoil(place)
    with pytest.raises(error) as caught:
        made(place)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(place) in str(caught.value)


def test_inputs_that_do_not_fit():
    model = made(FOLDERS / "bert_classification")
    with pytest.raises(ShapeError, match="13 tokens"):
        model(ek.zeros(1, LENGTH + 1, dtype=ek.int64))
    with pytest.raises(ShapeError, match="attention_mask"):
        model(ek.zeros(1, 3, dtype=ek.int64), ek.ones(1, 4))


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_config_states_the_defaults_of_its_model(name):
    stated = {}
    for line in (Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml").read_text().splitlines()[2:]:
        key, _, rest = line.partition(":")
        stated[key] = rest.partition("#")[0].strip()
    shown = {"None": "null", "True": "true"}
    arguments = {a.name: "???" if a.required else shown.get(str(a.default), str(a.default))
                 for a in registry.describe("model", name).arguments}  # fmt: skip
    assert stated == {key: value for key, value in arguments.items() if key not in ("input_shape", "output_size")}
