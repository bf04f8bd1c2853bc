"""The measurement of training memory, with a small model in this process."""

import pytest

from hf_tagger import memory


class Sender:
    def send(self, value):
        self.value = value

    def close(self):
        pass


def measured(way, monkeypatch):
    small = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    }  # fmt: skip
    monkeypatch.setitem(memory.PUBLISHED, "small", ("mert_model", small))
    sender = Sender()
    memory._train(sender, "small", way, 2, 0.5, None, "cpu")
    return sender.value


@pytest.mark.parametrize("way", memory.WAYS)
def test_every_way_trains_and_is_measured(way, monkeypatch):
    used = measured(way, monkeypatch)
    assert 0 < used.model_gib <= used.peak_gib < 64


def test_adapters_are_fewer_weights_than_the_model_and_more_than_the_head(monkeypatch):
    counts = {way: measured(way, monkeypatch).trainable for way in memory.WAYS}
    head, adapters = (16 + 1) * 50, 2 * 2 * 2 * 8 * 16  # layers, queries and values, A and B, rank, width
    assert counts["head alone"] == head
    assert counts["LoRA"] == counts["LoRA, checkpointing"] == head + adapters
    assert counts["all weights"] == counts["all weights, checkpointing"] > counts["LoRA"]
