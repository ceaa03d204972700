"""Measuring rtsep from outside, through real ports: latency and long runs."""
