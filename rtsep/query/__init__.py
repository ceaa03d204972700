"""Query by example: one stem of a mix, named by a clip of its instrument.

`model` runs the networks, `spectra` turns audio into what they hear and back, `song` does
whole files, `enrolled` keeps query vectors.
"""
