"""Rows of the language models: arguments, tokens of a sample, vocabulary, parameters."""

from expkit.errors import ConfigError, ShapeError

T, V = 12, 17
_BLOCK = 12 * 16**2 + 13 * 16

# name, arguments, parameters
ROWS = [
    ("gpt", {"n_layer": 2, "n_head": 4, "n_embd": 16}, (V + T) * 16 + 2 * _BLOCK + 32),
    ("gpt", {"n_layer": 1, "n_head": 1, "n_embd": 16, "bias": False, "tie_weights": False}, None),
    ("gpt", {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_inner": 5, "block_size": 20, "activation": "relu"}, None),
    ("lstm_lm", {"embedding_dim": 6, "hidden_size": 8, "num_layers": 1}, 17 * 6 + 4 * 8 * (6 + 8 + 2) + 9 * 17),
    ("lstm_lm", {"embedding_dim": 8, "hidden_size": 8, "tie_weights": True}, 17 * 8 + 2 * 4 * 8 * 18),
    ("gru_lm", {"embedding_dim": 6, "hidden_size": 8, "num_layers": 2}, None),
]

# name, arguments, shape of a sample, error, words of the message
MISFITS = [
    ("gpt", {"n_embd": 30, "n_head": 4}, (T,), ConfigError, ["model.n_embd=30", "model.n_head=4"]),
    ("gpt", {"n_layer": 0}, (T,), ConfigError, ["model.n_layer", "at least 1"]),
    ("gpt", {"dropout": 1.0}, (T,), ConfigError, ["model.dropout"]),
    ("gpt", {"activation": "gellu"}, (T,), ConfigError, ["model.activation", "'gelu'"]),
    ("gpt", {"block_size": 4}, (T,), ShapeError, ["12 tokens", "block_size=4"]),
    ("gpt", {}, (1, 8, 8), ShapeError, ["model gpt", "(1, 8, 8)", "data=pystdlib"]),
    ("lstm_lm", {"tie_weights": True}, (T,), ConfigError, ["embedding_dim=128", "hidden_size=256"]),
    ("gru_lm", {}, (3, 4), ShapeError, ["model gru_lm", "data=text"]),
    ("gru_lm", {"hidden_size": 0}, (T,), ConfigError, ["model.hidden_size"]),
]
