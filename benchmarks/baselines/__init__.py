"""What rtsep is measured against: methods without training, and the ceiling."""
