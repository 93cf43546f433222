"""Question 3: a Wasserstein GAN with Lipschitz penalty on house numbers."""
