"""``make demo``: the clip beside this file, taken apart into a folder, with a picture."""
