"""Makes the folders beside it with Hugging Face's transformers, which the tests do not need.

    python tests/nn/huggingface/make.py

Each holds a tiny model with random weights, as `save_pretrained` writes it, and expected.json: inputs and its logits.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent
BERT = {
    "vocab_size": 19, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 12, "num_labels": 3,
}  # fmt: skip
MODELS = {
    "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=19, n_positions=12, n_embd=8, n_layer=2, n_head=2)),
    "bert_masked_lm": BertForMaskedLM(BertConfig(**BERT)),
    "bert_classification": BertForSequenceClassification(BertConfig(**BERT, hidden_act="gelu_new")),
}


def main() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for name, model in MODELS.items():
        with torch.no_grad():
            for param in model.parameters():
                param.add_(torch.randn_like(param) * 0.3)
        inputs = {"input_ids": rng.integers(0, 19, (2, 9)).tolist()}
        if name != "gpt2":
            inputs["attention_mask"] = [[1] * 9, [1] * 6 + [0] * 3]
            inputs["token_type_ids"] = [[0] * 4 + [1] * 5] * 2
        logits = model.eval()(**{key: torch.tensor(value) for key, value in inputs.items()}).logits
        model.save_pretrained(HERE / name)
        (HERE / name / "generation_config.json").unlink(missing_ok=True)
        expected = {"transformers": transformers.__version__, "inputs": inputs, "logits": logits.tolist()}
        (HERE / name / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
