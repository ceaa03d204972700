"""Data, training and ONNX export for rtsep.  Imports torch; the runtime never does."""
