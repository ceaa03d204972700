"""The bridge: stems and notes between rtsep and other programs (ZeroMQ, MIDI)."""
