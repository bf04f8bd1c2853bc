"""Classical baselines: features by librosa, classifiers by scikit-learn."""
