"""Learning to separate from scores: "Transcription Is All You Need", whole.

Hung, Wichern, Le Roux, ICASSP 2021.  `songs` and `slakh` bring the data, `networks`,
`losses` and `training` the method, `settings` the rows of its tables, `evaluation` and
`tables` the figures.
"""
