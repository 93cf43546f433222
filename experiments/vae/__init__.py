"""Question 1: a variational autoencoder on binarized MNIST."""
