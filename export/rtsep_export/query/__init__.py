"""Query by example: "A Unified Model for Zero-shot Music Source Separation, Transcription
and Synthesis" (Lin, Kong, Jiang, Xia; ISMIR 2021).

`networks` holds the models, `losses` what they learn from, `checkpoints` reads published
weights.
"""
