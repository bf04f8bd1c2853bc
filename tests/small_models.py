"""Settings that make every model small, in the variants worth testing; a new model gets an entry here."""

TINY_MERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "initializer_range": 0.3,  # as narrow as this the usual 0.02 would let all clips look alike
    "window_samples": 24_000,
    "hop_samples": 24_000,
}
TINY_MUSICFM = {
    "num_mel_bins": 32,
    "conv_channels": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_depthwise_kernel_size": 7,
    "window_samples": 24_000,
    "hop_samples": 24_000,
}
TINY_WAV2VEC2 = {
    "encoder": {
        "model_type": "wav2vec2",
        "layerdrop": 0.0,
        **{key: value for key, value in TINY_MERT.items() if not key.endswith("_samples")},
    },
    "window_samples": 16_000,
    "hop_samples": 16_000,
}
TINY_AST = {
    "encoder": {
        "model_type": "audio-spectrogram-transformer",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.3,
        "max_length": 100,
    },
    "feature_extractor": {"feature_extractor_type": "ASTFeatureExtractor", "max_length": 100},
    "window_samples": 16_240,
    "hop_samples": 16_240,
    "layer": "weighted",
    "pooling": "attention",
    "head_hidden_size": 16,
}
TINY_MUSICNN = {"vertical_channels": 6, "horizontal_channels": 3, "backend_channels": 4, "dense_size": 16}
FRONT_ENDS = [{}, *({"front_end": name} for name in ("log_mel", "mfcc", "cqt", "waveform"))]
SMALL = {
    "audio_encoder": [TINY_WAV2VEC2, TINY_AST],
    "short_cnn": [{"num_channels": 4, **front_end} for front_end in FRONT_ENDS]
    + [{"num_channels": 4, "residual": True}],
    "fcn": [{"num_channels": 4, "window_samples": 100_000, "hop_samples": 100_000}],
    "crnn": [
        {"num_channels": 4, "hidden_size": 8, "window_samples": 100_000, "hop_samples": 100_000},
        {"num_channels": 4, "hidden_size": 8, "window_samples": 60_000, "hop_samples": 60_000, "front_end": "cqt"},
    ],
    "musicnn": [TINY_MUSICNN, {**TINY_MUSICNN, "front_end": "mfcc"}],
    "sample_cnn": [{"num_channels": 4}, {"num_channels": 4, "squeeze_excitation": True}],
    "harmonic_cnn": [{"num_channels": 4}],
    "mel_cnn": [{"num_channels": 4, "dense_size": 32}],
    "mel_vae": [
        {"num_channels": 4, "latent_size": 16, "kl_warmup_batches": 4},
        {"num_channels": 4, "latent_size": 16, "front_end": "log_mel", "num_mel_bins": 50},
    ],
    "mert_model": [
        TINY_MERT,
        {**TINY_MERT, "do_stable_layer_norm": True, "layer": "weighted", "head_hidden_size": 16},
        {**TINY_MERT, "feat_extract_norm": "layer", "layer": 1, "pooling": "attention"},
    ],
    "musicfm": [TINY_MUSICFM, {**TINY_MUSICFM, "layer": "weighted", "pooling": "attention", "head_hidden_size": 16}],
}
WITHOUT_DROPOUT = dict.fromkeys(
    [
        "classifier_dropout",
        "head_dropout",
        "hidden_dropout",
        "attention_dropout",
        "activation_dropout",
        "conformer_conv_dropout",
    ],
    0.0,
)
