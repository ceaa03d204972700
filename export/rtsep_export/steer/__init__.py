"""TagBox: "Unsupervised Source Separation by Steering Pretrained Music Models" (Manilow,
O'Reilly, Seetharaman, Pardo; 2021).

`autoencoder` and `taggers` hold the frozen networks, under the names that published
weights have.
"""
